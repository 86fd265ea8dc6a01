"""A run that ceased to be finite: counted, stopped, recorded, and the step in which it began run again."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from commands import QUICK, command

from seqjax import checkpoint, train
from seqjax.data.batches import row_indices
from seqjax.errors import CheckpointError, NonFiniteError, UsageError
from seqjax.experiment import Options, flight, run, rundir, state
from seqjax.experiment.replay import replay
from seqjax.experiment.source import data_key
from seqjax.types import Split

CONFIG = toy.Config(steps=40, second_steps=0)


def with_bad_rows(rows):
    """The experiment with targets that are not finite in some rows."""

    def build(config):
        experiment = toy.build(config)
        y = experiment.data.train.fields["y"].copy()
        y[rows] = np.nan
        train = Split({**experiment.data.train.fields, "y": y})
        return experiment._replace(data=experiment.data._replace(train=train))

    return build


WITH_BAD_TARGETS = with_bad_rows(slice(None))


def stopped(tmp_path, build=WITH_BAD_TARGETS):
    with pytest.raises(NonFiniteError) as end:
        run(CONFIG, build, Options(seeds=2, devices=1, run_dir=tmp_path))
    return str(end.value)


def said(capsys, target, build, name):
    capsys.readouterr()
    return replay(target, name, toy.Config, build), capsys.readouterr().out


def test_the_record_is_the_state_before_the_first_refused_step(tmp_path):
    error = stopped(tmp_path)
    (directory,) = checkpoint.checkpoints(tmp_path / "flight")
    found = checkpoint.restore(directory, state.abstract_runs(toy.build(CONFIG), range(2)))
    assert f"--replay {tmp_path}@{found.details['done']} to see where it began" in error
    states = found.tree.states
    assert states.step.tolist() == [found.details["done"]] * 2
    assert states.extra["skipped"]["in_a_row"].tolist() == [0, 0]
    assert not np.isnan(states.params["w"]).any()


def test_the_record_names_keys_and_rows_of_the_step(tmp_path):
    stopped(tmp_path)
    (manifest,) = (tmp_path / "flight").glob("*.json")
    details = json.loads(manifest.read_text())["details"]
    assert details["seeds"].keys() == {"0", "1"}
    for seed, recorded in details["seeds"].items():
        key = toy.build(CONFIG).phases[0].learner.init(state.phase_key(int(seed), 0)).key
        rows = row_indices(data_key(key), 0, batch_size=16, num_examples=64)
        assert (recorded["step"], recorded["rows"]) == (0, rows.tolist())
        assert recorded["key"] == jax.random.key_data(jax.random.fold_in(key, 0)).tolist()
        assert recorded["data_key"] == jax.random.key_data(data_key(key)).tolist()


def test_a_replay_names_the_array_that_came_so(tmp_path, capsys):
    stopped(tmp_path)
    finite, out = said(capsys, f"{tmp_path}@0", WITH_BAD_TARGETS, "test_replay")
    assert not finite
    assert "seed 0, step 0: x [16, 4], y [16, 1]; rows " in out
    assert out.count("first: ['batch']['y'] came with 16 nan of 16 values of float32[16,1]") == 2
    assert "not finite: gradient_norm, loss" in out


def test_a_replay_names_the_operation_of_the_program(tmp_path, capsys):
    result = command(capsys, "--run-dir", tmp_path, *QUICK, "--learning-rate", "1e30")
    assert result[0] == 3
    assert f"--replay {tmp_path}@1" in result[2]
    code, out, _ = command(capsys, "--replay", f"{tmp_path}@1")
    assert code == 3
    assert "dot_general at " in out
    assert "autoencoder.py:" in out
    # the step before it was still finite
    code, out, _ = command(capsys, "--replay", f"{tmp_path}@0")
    assert (code, out.count("all finite: ")) == (0, 2)


def test_a_replay_from_a_checkpoint_gives_the_metrics_of_the_run(tmp_path, capsys):
    run(CONFIG, toy.build, Options(seeds=2, devices=1, run_dir=tmp_path, log_every=1, save_every=0.0))
    # three newest checkpoints stay, of steps 20, 30 and 40: what lies between is run again
    finite, out = said(capsys, f"{tmp_path}@27", toy.build, "toy")
    assert finite
    assert f"from step 20 of {tmp_path}" in out
    (row,) = (row for row in rundir.read_metrics(tmp_path) if row["step"] == 28)
    for loss in row["loss"]:
        assert f"loss {loss:.5g}" in out


def test_a_replay_refreshes_what_the_run_refreshed(tmp_path, capsys):
    options = Options(seeds=2, devices=1, run_dir=tmp_path, log_every=1, save_every=0.0, keep=1, keep_every=6)
    run(toy.Config(), toy.build, options)
    capsys.readouterr()
    checkpoints = [directory.name for directory in checkpoint.checkpoints(tmp_path / "checkpoints")]
    # one of step 10 and one of the end: between lies the refresh of step 20
    for name in checkpoints:
        if name not in ("1-000000010", "1-000000000"):
            shutil.rmtree(tmp_path / "checkpoints" / name)
    assert replay(f"{tmp_path}@27", "toy", toy.Config, toy.build)
    out = capsys.readouterr().out
    (row,) = (row for row in rundir.read_metrics(tmp_path) if (row["phase"], row["step"]) == (1, 28))
    for loss in row["loss"]:
        assert f"loss {loss:.5g}" in out
    with pytest.raises(UsageError, match="phase go on has 30 steps, expected 0 to 29"):
        replay(f"{tmp_path}@30", "toy", toy.Config, toy.build)


def test_each_seed_is_shown_in_the_step_in_which_it_went_bad(tmp_path, capsys):
    """Seed 1 ceases to be finite three steps before seed 0."""
    experiment = toy.build(CONFIG)
    begins = {0: 5, 1: 2}
    learner = experiment.phases[0].learner

    def build(config):
        def loss(params, batch, key, now):
            own = learner.init(state.phase_key(1, 0)).key
            begin = jnp.where((jax.random.key_data(now.key) == jax.random.key_data(own)).all(), begins[1], begins[0])
            values = jnp.square(batch["x"] @ params["w"] - batch["y"]).mean(axis=1)
            return jnp.where(now.step >= begin, jnp.log(-jnp.ones_like(values)), values), train.Aux({})

        bad = train.minimise(loss, lambda key: {"w": jnp.zeros((4, 1))}, optax.sgd(0.01))
        return experiment._replace(phases=(experiment.phases[0]._replace(learner=bad),))

    message = stopped(tmp_path, build)
    assert "seed 0 up to step 15, seed 1 up to step 12" in message
    step = re.search(r"@(\d+)", message)[1]
    finite, out = said(capsys, f"{tmp_path}@{step}", build, "test_replay")
    assert not finite
    assert "seed 0, step 5: " in out
    assert "seed 1, step 2: " in out
    assert out.count("first: log at ") == 2


@pytest.mark.parametrize("target", ["", "x", "@3", "run@", "run@-1", "run@x", "run@1.5"])
def test_what_names_no_step_is_refused(target):
    with pytest.raises(UsageError, match="expected RUN@STEP"):
        replay(target, "toy", toy.Config, toy.build)


def test_runs_that_cannot_be_replayed_are_refused_by_name(tmp_path):
    with pytest.raises(UsageError, match=r"config\.json"):
        replay(f"{tmp_path}@1", "toy", toy.Config, toy.build)
    run(CONFIG, toy.build, Options(seeds=1, devices=1, run_dir=tmp_path, save_every=0.0))
    with pytest.raises(UsageError, match="is a run of toy, expected one of vae"):
        replay(f"{tmp_path}@1", "vae", toy.Config, toy.build)
    with pytest.raises(CheckpointError, match="no checkpoint at step 5 or before"):
        replay(f"{tmp_path}@5", "toy", toy.Config, toy.build)


def test_one_bad_batch_is_counted_and_the_run_goes_on(tmp_path):
    receipt = run(CONFIG, with_bad_rows([3]), Options(seeds=1, devices=1, run_dir=tmp_path))
    assert receipt["skipped"] == [10]
    assert receipt["steps"] == [40]
    assert not (tmp_path / "flight").exists()


def test_a_seed_stops_after_ten_refused_steps_in_a_row_and_no_more():
    from seqjax import parallel
    from seqjax.train import make_chapter

    experiment = WITH_BAD_TARGETS(CONFIG)
    learner = experiment.phases[0].learner
    states = jax.jit(lambda keys: jax.lax.map(learner.init, keys))(jax.random.split(jax.random.key(0), 2))

    def fetch(source, state, seed, position, shard):
        return {name: field[:4] for name, field in source.items()}

    chapter = make_chapter(learner, fetch, length=30, most_skipped=10)
    active = np.asarray([True, False])
    after, metrics = jax.jit(chapter)(states, active, 30, 0, experiment.data.train.fields)
    assert parallel.local(after.step).tolist() == [10, 0]
    assert np.isnan(metrics["loss"]).sum(axis=1).tolist() == [10, 0]
    before = flight.before_skipped(after, [0])
    assert checkpoint.tree_sha256(before) == checkpoint.tree_sha256(states)
