"""A run as a whole, in this process: phases, decisions at chapter boundaries, plans that must not matter."""

import json
import os
from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import on_devices
import pytest
import toy
from commands import QUICK, command

import seqjax
from experiments import autoencoder
from seqjax import checkpoint
from seqjax.data.stored import StoredRows
from seqjax.errors import Interrupted, UsageError
from seqjax.experiment import Options, phases, run, rundir, state
from seqjax.experiment.session import make_plan, make_session
from seqjax.experiment.source import make_source
from seqjax.types import Split


def receipt_of(tmp_path, config=None, name="run", **options):
    options = {"seeds": 2, "devices": 1, "run_dir": tmp_path / name} | options
    return run(config or toy.Config(second_steps=0), toy.build, Options(**options))


def rows_of(tmp_path, name="run"):
    return rundir.read_metrics(tmp_path / name)


@pytest.mark.debug
def test_both_phases_run_and_say_so(tmp_path):
    receipt = run(toy.Config(), toy.build, Options(seeds=2, devices=1, run_dir=tmp_path / "run"), smoke=toy.SMOKE)
    rows = rows_of(tmp_path)
    assert [(r["phase"], r["step"]) for r in rows] == [(0, s) for s in (10, 20, 30, 40)] + [
        (1, s) for s in (10, 20, 30)
    ]
    assert receipt["steps"] == [30, 30]
    assert receipt["health"] == "ok"
    assert set(receipt["smoke"]) == {"line/error", "line/step"}
    # entering negates the weights, so the first loss of the second phase is far above the last of the first
    assert min(rows[4]["loss"]) > 2 * max(rows[3]["loss"])


def test_instruments_of_the_evaluation_are_named_in_the_receipt(tmp_path):
    def build(config):
        return toy.build(config)._replace(instruments=lambda: {"network": "ab" * 32})

    receipt = run(toy.Config(second_steps=0), build, Options(seeds=1, devices=1, run_dir=tmp_path / "run"))
    assert receipt["instruments"] == {"network": "ab" * 32}
    assert "instruments" not in receipt_of(tmp_path, name="plain", seeds=1)


def test_targets_are_refreshed_every_so_many_steps(tmp_path):
    experiment = toy.build(toy.Config())
    session = make_session(experiment, make_plan(Options(seeds=1, devices=1)), tmp_path)
    trained = phases.train_phases(session, state.restore_or_start(session))
    # entered at 0.5, refreshed once, after 20 of 30 steps
    assert float(trained.states.extra["target_scale"][0]) == pytest.approx(0.6)


def test_same_seed_same_hash_other_seed_other_hash(tmp_path):
    one, again = receipt_of(tmp_path, name="a"), receipt_of(tmp_path, name="b")
    other = receipt_of(tmp_path, name="c", seed=1)
    assert one["state_sha256"] == again["state_sha256"] != other["state_sha256"]
    # seed 1 is the second of (0, 1) and the first of (1, 2)
    assert one["metrics"]["line/error"]["per_seed"][1] == other["metrics"]["line/error"]["per_seed"][0]


def test_log_windows_are_means_of_their_steps(tmp_path):
    receipt_of(tmp_path, name="fine", log_every=1)
    receipt_of(tmp_path, name="coarse", log_every=5)
    fine, coarse = rows_of(tmp_path, "fine"), rows_of(tmp_path, "coarse")
    assert len(fine) == 5 * len(coarse) == 40
    for i, row in enumerate(coarse):
        expected = np.mean([r["loss"] for r in fine[5 * i : 5 * i + 5]], axis=0)
        np.testing.assert_allclose(row["loss"], expected, rtol=1e-6)


def test_a_ragged_last_chapter_is_trained_and_logged(tmp_path):
    receipt = receipt_of(tmp_path, toy.Config(steps=17, second_steps=0))
    assert receipt["steps"] == [17, 17]
    assert [r["step"] for r in rows_of(tmp_path)] == [10, 17]


def test_a_stopped_seed_is_not_refreshed():
    experiment = toy.build(toy.Config())
    run = state.start_phase(experiment, 0, range(2), None)
    run = run._replace(active=run.active.at[1].set(False), done=jnp.int32(20))
    after = state.refreshed(run, experiment.phases[1], experiment.data.train)
    np.testing.assert_allclose(after.states.extra["target_scale"], [1.1, 1.0], rtol=1e-6)


def test_a_phase_that_begins_with_other_arrays_is_refused_before_it_trains(tmp_path):
    def enter(previous, split, key):
        return previous._replace(extra=previous.extra | {"centre": jnp.zeros(2)})

    experiment = toy.build(toy.Config(steps=10))
    experiment = experiment._replace(phases=(experiment.phases[0], experiment.phases[1]._replace(enter=enter)))
    session = make_session(experiment, make_plan(Options(seeds=1, devices=1)), tmp_path)
    with pytest.raises(UsageError, match="centre"):
        phases.train_phases(session, state.restore_or_start(session))


def test_many_skipped_steps_are_counted_and_no_good_health(tmp_path):
    experiment = toy.build(toy.Config(steps=12, second_steps=0))
    nan_rows = experiment.data.train.fields["y"].copy()
    nan_rows[: len(nan_rows) // 8] = np.nan
    bad = Split({**experiment.data.train.fields, "y": nan_rows})
    build = lambda config: experiment._replace(data=experiment.data._replace(train=bad))  # noqa: E731
    receipt = run(toy.Config(), build, Options(seeds=2, devices=1, run_dir=tmp_path))
    assert min(receipt["skipped"]) > 6
    assert receipt["health"] == "diverged"


def test_skipped_steps_are_counted_over_all_phases_and_left_out_of_the_means(tmp_path):
    experiment = toy.build(toy.Config())
    y = experiment.data.train.fields["y"].copy()
    y[7] = np.nan
    bad = Split({**experiment.data.train.fields, "y": y})
    build = lambda config: experiment._replace(data=experiment.data._replace(train=bad))  # noqa: E731
    receipt = run(toy.Config(), build, Options(seeds=2, devices=1, run_dir=tmp_path))
    rows = rundir.read_metrics(tmp_path)
    counts = np.asarray([row.get("skipped", [0, 0]) for row in rows])
    # a row is in one of the four batches of an epoch
    assert counts.sum(axis=0).tolist() == receipt["skipped"]
    assert all(17 <= count <= 18 for count in receipt["skipped"])
    assert counts[4:].any()
    assert all(np.isfinite(np.asarray(row["loss"], float)).all() for row in rows)


def test_a_smoke_twin_that_cannot_be_costs_nothing(tmp_path):
    receipt = run(toy.Config(), toy.build, Options(seeds=1, devices=1, run_dir=tmp_path), smoke={"steps": -1})
    assert receipt["smoke"] is None


def test_other_data_under_the_same_name_are_refused(tmp_path):
    receipt_of(tmp_path)
    other = toy.build(toy.Config(second_steps=0))
    build = lambda config: other._replace(data=other.data._replace(sha256="1" * 64))  # noqa: E731
    with pytest.raises(UsageError, match="data_sha256"):
        run(toy.Config(second_steps=0), build, Options(seeds=2, devices=1, run_dir=tmp_path / "run"))


def test_missing_lines_of_metrics_are_told(tmp_path):
    receipt_of(tmp_path)
    (tmp_path / "run" / "receipt.json").unlink()
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(UsageError, match="lacks lines before step 40 of phase 0"):
        receipt_of(tmp_path)


@pytest.mark.parametrize("fault", ["one is missing", "one is there twice", "a phase is missing", "two changed places"])
def test_lines_of_metrics_are_each_there_once_or_the_run_does_not_go_on(fault, tmp_path):
    receipt_of(tmp_path, toy.Config())
    (tmp_path / "run" / "receipt.json").unlink()
    path = tmp_path / "run" / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 7
    match fault:
        case "one is missing":
            del lines[1]
        case "one is there twice":
            lines[1] = lines[0]
        case "a phase is missing":
            del lines[:4]
        case "two changed places":
            lines[4], lines[5] = lines[5], lines[4]
    path.write_text("".join(lines))
    with pytest.raises(UsageError, match=r"lacks lines before step 30 of phase 1.*has some twice"):
        receipt_of(tmp_path, toy.Config())


def test_lines_of_a_phase_that_has_still_to_begin_are_asked_for(tmp_path):
    experiment, plan = toy.build(toy.Config()), make_plan(Options(seeds=1, devices=1))
    session = make_session(experiment, plan, tmp_path)
    start = state.restore_or_start(session)
    first = phases.train_phases(session._replace(experiment=experiment._replace(phases=experiment.phases[:1])), start)
    second = state.start_phase(experiment, 1, plan.seed_range, first)
    checkpoint.commit(state.save(session, second))
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(UsageError, match="lacks lines before step 0 of phase 1"):
        state.restore_or_start(session)


def test_keep_best_evaluates_the_step_with_the_best_validation(tmp_path):
    config = toy.Config(steps=60, second_steps=0, validation_rises_after=30, keep_best=True)
    receipt = receipt_of(tmp_path, config)
    last = receipt_of(tmp_path, toy.Config(steps=30, second_steps=0), name="thirty")
    assert receipt["metrics"]["line/error"]["per_seed"] == last["metrics"]["line/error"]["per_seed"]
    assert receipt["steps"] == [60, 60]


def test_patience_stops_a_seed_for_good(tmp_path):
    config = toy.Config(steps=90, second_steps=0, validation_rises_after=20, patience=2)
    assert receipt_of(tmp_path, config)["steps"] == [40, 40]
    assert rows_of(tmp_path)[-1]["step"] == 40


def test_stopped_seeds_log_null_and_stay(tmp_path):
    experiment = toy.build(toy.Config(second_steps=0))
    session = make_session(experiment, make_plan(Options(seeds=2, devices=1)), tmp_path)
    start = state.restore_or_start(session)
    half = start._replace(active=start.active.at[1].set(False))
    before = np.asarray(start.states.params["w"][1])
    trained = phases.train_phases(session, half)
    np.testing.assert_array_equal(trained.states.params["w"][1], before)
    assert [row["loss"][1] for row in rundir.read_metrics(tmp_path)] == [None] * 4
    assert np.asarray(trained.states.step).tolist() == [40, 0]


@pytest.mark.parametrize(
    ("devices", "driver", "stream"), [(1, "jit", False), (1, "jit", True), (8, "pmap", False), (8, "shard_map", False)]
)
def test_chapters_after_the_first_compile_nothing(tmp_path, devices, driver, stream):
    compilations, seen = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **kwargs: compilations.append(event) if "backend_compile" in event else None
    )
    plan = make_plan(Options(seeds=2, devices=devices, driver=driver, stream=stream))
    experiment = toy.build(toy.Config(steps=55, second_steps=0))

    def reporter(title, start):
        return nullcontext(lambda done, total, values: seen.append(len(compilations)))

    session = make_session(experiment, plan, tmp_path, reporter=reporter)
    phases.train_phases(session, state.restore_or_start(session))
    assert seen[0] > 0
    # the masked tail included
    assert seen == [seen[0]] * 6


def test_streamed_and_resident_batches_are_the_same_bits():
    experiment = toy.build(toy.Config())
    phase = experiment.phases[0]
    on = on_devices.layout("jit", 1)
    states = jax.lax.map(phase.learner.init, jax.vmap(jax.random.key)(np.arange(2)))
    sources = [make_source(experiment.data.train, phase, on, stream=stream) for stream in (False, True)]
    parts = [next(iter(source.parts(states, 0, 10)))[1] for source in sources]
    for seed in range(2):
        one = jax.tree.map(lambda leaf, s=seed: leaf[s], states)
        for position in range(10):
            resident, streamed = (
                s.fetch(p, one._replace(step=jnp.int32(position)), *map(jnp.int32, (seed, position, 0)))
                for s, p in zip(sources, parts, strict=True)
            )
            assert set(resident) == set(streamed)
            for name in resident:
                np.testing.assert_array_equal(resident[name], streamed[name])


def test_rows_on_disk_are_streamed():
    train = toy.build(toy.Config()).data.train
    order = np.random.default_rng(0).permutation(train.num_examples)
    fields = {name: field[np.argsort(order)] for name, field in train.fields.items()}
    stored = Split({name: StoredRows(field, order, field.dtype) for name, field in fields.items()})
    phase, on = toy.build(toy.Config()).phases[0], on_devices.layout("jit", 1)
    states = jax.lax.map(phase.learner.init, jax.vmap(jax.random.key)(np.arange(2)))
    (_, a), (_, b) = (
        next(make_source(split, phase, on, stream=True).parts(states, 0, 10)) for split in (train, stored)
    )
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_phase_may_make_its_own_batches():
    def fresh(split, key, step, *, batch_size, shard, num_shards):
        x = jax.random.normal(jax.random.fold_in(key, step), (batch_size, 4))
        return {"x": x, "y": x[:, :1], "index": jnp.arange(batch_size)}

    experiment = toy.build(toy.Config())
    phase = experiment.phases[0]._replace(batch_at=fresh)
    on = on_devices.layout("jit", 1)
    source = make_source(experiment.data.train, phase, on, stream=False)
    one = phase.learner.init(jax.random.key(0))
    states = jax.tree.map(lambda leaf: leaf[None], one)
    ((_, part),) = source.parts(states, 0, 10)
    batches = [source.fetch(part, one._replace(step=jnp.int32(s)), *map(jnp.int32, (0, s, 0)))["x"] for s in (3, 3, 4)]
    np.testing.assert_array_equal(batches[0], batches[1])
    assert not np.array_equal(batches[0], batches[2])
    with pytest.raises(UsageError, match="phase fit makes its own batches"):
        make_source(experiment.data.train, phase, on, stream=True)


def test_streamed_run_equals_resident_run(tmp_path):
    config = toy.Config(steps=105, second_steps=0)
    resident = receipt_of(tmp_path, config, name="resident")
    streamed = receipt_of(tmp_path, config, name="streamed", stream=True)
    np.testing.assert_allclose(
        streamed["metrics"]["line/error"]["per_seed"], resident["metrics"]["line/error"]["per_seed"], rtol=1e-5
    )
    for a, b in zip(rows_of(tmp_path, "resident"), rows_of(tmp_path, "streamed"), strict=True):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)


@pytest.mark.parametrize("driver", ["pmap", "shard_map"])
def test_eight_devices_equal_one(tmp_path, driver):
    one = receipt_of(tmp_path, toy.Config(steps=20, second_steps=10), name="one")
    eight = receipt_of(tmp_path, toy.Config(steps=20, second_steps=10), name="eight", devices=8, driver=driver)
    for a, b in zip(rows_of(tmp_path, "one"), rows_of(tmp_path, "eight"), strict=True):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-4)
    assert eight["plan"]["driver"] == driver
    assert eight["metrics"]["line/error"]["mean"] == pytest.approx(one["metrics"]["line/error"]["mean"], rel=1e-4)


@pytest.mark.debug
def test_a_signal_saves_and_the_same_command_continues(tmp_path):
    whole = receipt_of(tmp_path, toy.Config(), name="whole")
    experiment, plan = toy.build(toy.Config()), make_plan(Options(seeds=2, devices=1))
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    description = rundir.described("toy", toy.Config(), plan._asdict())
    rundir.claim(run_dir, description | {"data_sha256": experiment.data.sha256})
    asked = iter([False, True] + [True] * 9)
    while True:
        session = make_session(experiment, plan, run_dir, stop_requested=lambda: next(asked, False))
        try:
            phases.train_phases(session, state.restore_or_start(session))
            break
        except Interrupted:
            continue
    assert receipt_of(tmp_path, toy.Config())["state_sha256"] == whole["state_sha256"]
    assert rows_of(tmp_path) == rows_of(tmp_path, "whole")


def test_a_run_in_a_relative_directory_is_saved_continued_and_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, err = command(capsys, *QUICK, "--smoke")
    assert code == 0, err
    (run_dir,) = Path("runs/linear_autoencoder").iterdir()
    (run_dir / "receipt.json").unlink()
    code, out, err = command(capsys, *QUICK, "--smoke")
    assert code == 0, err
    assert f"continues {run_dir}" in out
    assert seqjax.load(run_dir).params["params"]["encoder_kernel_0"].shape == (64, 10)


def test_continuing_after_the_last_checkpoint_writes_none_again(tmp_path):
    first = receipt_of(tmp_path)
    (tmp_path / "run" / "receipt.json").unlink()
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "checkpoints").rglob("*")}
    assert receipt_of(tmp_path)["metrics"] == first["metrics"]
    assert written == {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "checkpoints").rglob("*")}


def test_finished_run_is_found_again_and_told(tmp_path, capsys):
    assert command(capsys, "--run-dir", tmp_path, *QUICK, "--smoke")[0] == 0
    before = (tmp_path / "receipt.json").read_bytes()
    code, out, _ = command(capsys, "--run-dir", tmp_path, *QUICK, "--smoke")
    assert code == 0
    assert f"{tmp_path} is finished." in out
    assert "pca" in out
    assert (tmp_path / "receipt.json").read_bytes() == before


ALL_OPTIONS = [
    *[*QUICK, "--smoke", "--hidden", "16", "--code-size", "4", "--tied", "--corruption", "masking"],
    *["--complexity", "contractive", "--beta", "0.01", "--optimizer", "adamw", "--weight-decay", "1e-3"],
    *["--clip-norm", "1", "--accumulate", "2", "--ema-decay", "0.9", "--precision", "bfloat16"],
    *["--keep-best", "--patience", "3", "--warmup-steps", "5"],
]


@pytest.mark.debug
def test_autoencoder_with_every_option_learns_and_is_loaded_again(tmp_path, capsys):
    code, out, err = command(capsys, "--run-dir", tmp_path, *ALL_OPTIONS, module=autoencoder)
    assert code == 0, err
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    measured = {name: m["mean"] for name, m in receipt["metrics"].items()}
    assert measured["autoencoder/squared_error"] < measured["mean/squared_error"]
    figures = {p.name for p in (tmp_path / "figures").iterdir()}
    assert figures == {"learning_curves.png", "reconstructions.png", "code_map.png", "error_against_code_size.png"}
    for word in ("autoencoder", "pca", "mean", str(tmp_path / "receipt.json")):
        assert word in out

    loaded = seqjax.load(tmp_path, seed=1)
    x = jnp.asarray(loaded.experiment.data.test.fields["x"])
    reconstructed = loaded.functions["decode"](loaded.functions["encode"](x))
    error = np.square(np.asarray(reconstructed, np.float64) - x).sum(axis=1).mean()
    assert error == pytest.approx(receipt["metrics"]["autoencoder/squared_error"]["per_seed"][1], rel=1e-3)
    assert loaded.config.hidden == (16,)
    with pytest.raises(UsageError, match="seed 7"):
        seqjax.load(tmp_path, seed=7)


def test_load_refuses_what_is_no_run(tmp_path):
    file = tmp_path / "own.csv"
    file.write_text("1,2\n")
    for wrong, reason in (
        (tmp_path, "no readable config.json"),
        (tmp_path / "gone", "no such directory"),
        (file / "below", "no such directory"),
        (file, "is a file"),
        ("nul\0", "cannot be read"),
    ):
        with pytest.raises(UsageError, match=reason) as caught:
            seqjax.load(wrong)
        assert str(caught.value).startswith(f"{wrong}: ")
        # a new directory would hold no run to load
        assert str(caught.value).endswith(
            ", expected a run directory of this project.\nName a directory that a run has made."
        )
    description = {"experiment": "os; import sys", "config": {}, "plan": {"seed": 0, "seeds": 1}}
    (tmp_path / "config.json").write_text(json.dumps(description))
    with pytest.raises(UsageError, match="experiment name"):
        seqjax.load(tmp_path)


def test_every_command_asks_for_deterministic_kernels(monkeypatch, capsys):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    command(capsys, "--help")
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=true"


def test_a_function_starts_no_processes(tmp_path):
    with pytest.raises(UsageError, match="processes=2: this is one of 1"):
        receipt_of(tmp_path, processes=2)


def test_a_seed_that_stopped_early_is_judged_by_the_steps_it_took(tmp_path):
    config = toy.Config(steps=1000, second_steps=0, validation_rises_after=0, patience=2)
    experiment = toy.build(config)
    y = np.full_like(experiment.data.train.fields["y"], np.nan)
    y[:60] = experiment.data.train.fields["y"][:60]
    bad = Split({**experiment.data.train.fields, "y": y})
    build = lambda config: experiment._replace(data=experiment.data._replace(train=bad))  # noqa: E731
    receipt = run(config, build, Options(seeds=2, devices=1, run_dir=tmp_path))
    assert max(receipt["steps"]) < 100
    assert min(2 * skipped - taken for skipped, taken in zip(receipt["skipped"], receipt["steps"], strict=True)) > 0
    assert receipt["health"] == "diverged"
