"""`--overfit-batch`: one batch at every step, a loss that falls or is said not to, and a directory of its own kind."""

import itertools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import on_devices
import pytest
import toy

from results.report.command import repeating
from results.rows import ROWS
from results.stored import checked
from seqjax import checkpoint
from seqjax.data.batches import row_indices
from seqjax.errors import Interrupted, UsageError
from seqjax.experiment import Options, overfit, run, rundir
from seqjax.experiment.phases import train_phases
from seqjax.experiment.replay import replay
from seqjax.experiment.session import make_plan, make_session
from seqjax.experiment.source import data_key, make_source
from seqjax.experiment.state import phase_key, restore_or_start

ONE = toy.Config(second_steps=0)


def never(*args):
    raise AssertionError("the test split is none of such a run's business")


def build(config):
    return toy.build(config)._replace(evaluate=never, health=never, figures=never)


def options(run_dir, **more):
    return Options(**({"seeds": 2, "devices": 1, "run_dir": run_dir, "overfit_batch": True} | more))


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("overfit") / "run"
    return run_dir, run(toy.Config(), build, options(run_dir), smoke=toy.SMOKE)


def test_the_batch_is_the_first_one_at_every_step_resident_or_streamed():
    experiment = toy.build(toy.Config())
    phase, on = experiment.phases[0], on_devices.layout("jit", 1)
    states = jax.lax.map(phase.learner.init, jax.vmap(jax.random.key)(np.arange(2)))
    train = experiment.data.train

    def indices(stream, overfit_batch, seed, step):
        source = make_source(train, phase, on, stream=stream, overfit_batch=overfit_batch)
        one = jax.tree.map(lambda leaf: leaf[seed], states)._replace(step=jnp.int32(step))
        part = next(source.parts(states, step // 10 * 10, 10))[1]
        return source.fetch(part, one, *map(jnp.int32, (seed, step % 10, 0)))["index"].tolist()

    for seed in range(2):
        first = indices(False, False, seed, 0)
        seen = [indices(stream, True, seed, step) for stream in (False, True) for step in (0, 3, 27)]
        assert seen == [first] * 6
        assert indices(False, False, seed, 3) != first
    assert indices(False, True, 0, 0) != indices(False, True, 1, 0)


def test_the_loss_of_each_phase_falls_and_is_all_that_is_measured(overfitted, capsys):
    run_dir, receipt = overfitted
    assert receipt["overfit_batch"] is True
    assert receipt["health"] == "ok"
    assert "smoke" not in receipt
    assert set(receipt["metrics"]) == {
        f"{phase}/{place}_loss" for phase in ("fit", "go on") for place in ("first", "last")
    }
    rows = rundir.read_metrics(run_dir)
    # a line for each step, so that the first is of the first step
    assert [row["step"] for row in rows] == [*range(1, 41), *range(1, 31)]
    assert receipt["metrics"]["fit/first_loss"]["per_seed"] == rows[0]["loss"]
    assert receipt["metrics"]["go on/last_loss"]["per_seed"] == rows[-1]["loss"]
    assert [path.name for path in (run_dir / "figures").iterdir()] == ["learning_curves.png"]
    overfit.told(receipt["metrics"], toy.build(toy.Config()).phases)
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 2
    assert out[0].startswith("one batch of 16, phase fit, 40 steps: loss ")
    assert out[0].endswith("falls in 2 of 2 seed(s)")


def test_streamed_it_is_the_same_run(overfitted, tmp_path):
    streamed = run(toy.Config(), build, options(tmp_path, stream=True))
    for name, measure in overfitted[1]["metrics"].items():
        np.testing.assert_allclose(streamed["metrics"][name]["per_seed"], measure["per_seed"], rtol=1e-5)


def test_stopped_and_continued_it_has_the_same_bits(overfitted, tmp_path):
    plan = make_plan(Options(seeds=2, devices=1, log_every=1))
    asked = itertools.count(1)

    def trained(**more):
        session = make_session(overfit.overfitting(toy.build(toy.Config())), plan, tmp_path, overfit_batch=True, **more)
        return train_phases(session, restore_or_start(session))

    with pytest.raises(Interrupted):
        trained(stop_requested=lambda: next(asked) == 2)
    assert checkpoint.tree_sha256(trained()) == overfitted[1]["state_sha256"]


def test_it_is_never_taken_for_a_run_nor_a_run_for_it(overfitted, tmp_path):
    run_dir, receipt = overfitted
    assert json.loads((run_dir / "config.json").read_text())["overfit_batch"] is True
    with pytest.raises(UsageError, match="overfit_batch is True there and None here"):
        run(toy.Config(), toy.build, options(run_dir, overfit_batch=False, log_every=1))
    with pytest.raises(UsageError, match="overfit_batch is True there and None here"):
        run(toy.Config(), build, options(tmp_path / "fork", overfit_batch=False, fork=run_dir))
    run(ONE, toy.build, options(tmp_path / "real", overfit_batch=False, log_every=1))
    # all that an ordinary run says of itself is as it was
    assert "overfit" not in (tmp_path / "real" / "config.json").read_text()
    with pytest.raises(UsageError, match="overfit_batch is None there and True here"):
        run(ONE, build, options(tmp_path / "real"))
    description = rundir.described("toy", ONE, {})
    assert rundir.default_run_dir(description) != rundir.default_run_dir(description | overfit.MARK)
    row = ROWS[0]
    (tmp_path / "receipt.json").write_text(json.dumps(receipt | {"experiment": row.experiment}))
    with pytest.raises(UsageError, match="on one batch"):
        checked(row, tmp_path / "receipt.json")


def test_validation_that_gets_worse_does_not_stop_it(tmp_path):
    config = toy.Config(steps=90, second_steps=0, validation_rises_after=20, patience=2)
    assert run(config, build, options(tmp_path))["steps"] == [90, 90]


def test_nor_does_a_phase_that_finds_itself_finished(tmp_path):
    def build_finishing(config):
        experiment = build(config)
        first, second = experiment.phases
        return experiment._replace(phases=(first, second._replace(finished=lambda state: True)))

    receipt = run(toy.Config(), build_finishing, options(tmp_path))
    assert (receipt["steps"], receipt["health"]) == ([30, 30], "ok")


def test_a_loss_that_does_not_fall_and_players_without_one_are_told(capsys):
    phases = tuple(
        phase._replace(name=name) for name, phase in zip("abc", toy.build(toy.Config()).phases * 2, strict=False)
    )
    rows = [
        {"phase": 0, "step": 1, "loss": [3.0, 2.0], "a_term": [0.0, 0.0]},
        {"phase": 0, "step": 2, "loss": [1.0, 2.0], "a_term": [0.0, 0.0]},
        {"phase": 1, "step": 1, "critic_loss": [1.0, 3.0], "generator_loss": [1.0, 1.0], "critic_real": [0.0, 0.0]},
        {"phase": 1, "step": 2, "critic_loss": [2.0, 4.0], "generator_loss": [1.0, 1.0], "critic_real": [0.0, 0.0]},
    ]
    metrics = overfit.loss_change(rows, phases)
    assert metrics["a/last_loss"]["per_seed"] == [1.0, 2.0]
    assert set(metrics) == {
        *("a/first_loss", "a/last_loss", "b/first_critic_loss", "b/last_critic_loss"),
        *("b/first_generator_loss", "b/last_generator_loss"),
    }
    assert overfit.told(metrics, phases) == "not falling"
    a, b, c = capsys.readouterr().out.splitlines()
    assert a.endswith("loss 2.5 -> 1.5, falls in 1 of 2 seed(s)")
    assert "critic_loss 2 -> 3, generator_loss 1 -> 1 - of players against each other" in b
    assert c.endswith("no loss is reported")
    assert overfit.told(overfit.loss_change(rows[2:], phases), phases) == "ok"


@pytest.mark.parametrize(
    ("sizes", "expected"), [([(8000, 800)], 40), ([(40, 10), (30, 10)], 1), ([(0, 10), (1000, 100), (900, 90)], 2)]
)
def test_lines_are_fine_enough_to_see_the_first_steps(sizes, expected):
    phase = toy.build(toy.Config()).phases[0]
    assert overfit.log_window([phase._replace(steps=s, chapter_steps=c) for s, c in sizes]) == expected


def test_it_needs_steps(tmp_path):
    with pytest.raises(UsageError, match="no phase has two steps"):
        run(toy.Config(steps=1, second_steps=0), build, options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_its_steps_are_replayed_with_the_same_rows_and_its_command_is_known(overfitted, capsys):
    run_dir, receipt = overfitted
    capsys.readouterr()
    assert replay(f"{run_dir}@1", receipt["experiment"], toy.Config, build)
    shown = re.findall("rows (.*), [.]{3}", capsys.readouterr().out)
    keys = [data_key(toy.learner(1.0).init(phase_key(seed, 1)).key) for seed in range(2)]
    first = [row_indices(key, 0, batch_size=16, num_examples=64).tolist()[:8] for key in keys]
    assert shown == [str(rows)[1:-1] for rows in first]
    description = json.loads((run_dir / "config.json").read_text())
    assert "--overfit-batch" in repeating(description | {"experiment": "adding", "config": {}})
