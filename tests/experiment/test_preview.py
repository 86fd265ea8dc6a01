"""`--plan` says what a run takes: sizes and operations beside those counted by hand, times by a made-up clock."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from commands import QUICK, command

from seqjax import losses, train
from seqjax.experiment import Options, preview, state
from seqjax.experiment.command import say_plan
from seqjax.experiment.phases import train_phases
from seqjax.experiment.session import make_plan, make_session
from seqjax.types import Phase, Split


def options(**more):
    return Options(**({"seeds": 2, "devices": 1, "plan": True} | more))


@pytest.fixture(scope="module")
def toys():
    return say_plan(toy.Config(), toy.build, options())


def test_sizes_are_those_counted_by_hand(toys):
    fit, go_on = toys
    assert (fit.name, fit.steps, fit.batch_size, fit.parts) == ("fit", 40, 16, {"parameters": 4})
    # of each seed: weights, two moments and their count, step, key, scale, three counts of skipped steps, decisions
    seed = 16 + (32 + 4) + 4 + 8 + 4 + 12 + (4 + 4 + 1)
    assert fit.state == 2 * seed + 8
    assert fit.data == (64 + 16) * (16 + 4)
    assert fit.memory > fit.state + fit.data
    assert (go_on.name, go_on.steps, go_on.state) == ("go on", 30, fit.state)


def test_streamed_batches_are_counted_as_a_dispatch_reads_them():
    (fit,) = say_plan(toy.Config(second_steps=0), toy.build, options(stream=True))
    # ten steps of two seeds with 16 rows and their indices; the validation split
    assert fit.data == 10 * 2 * 16 * (16 + 4 + 4) + 16 * (16 + 4)
    assert fit.streamed


def test_the_training_time_is_of_steps_validations_and_refreshes(toys):
    fit, go_on = toys
    assert min(fit.compile_s, fit.step_s, fit.chapter_s, go_on.refresh_s) > 0
    assert fit.refresh_s == 0
    assert fit.train_s == pytest.approx(40 * fit.step_s + 4 * fit.chapter_s)
    # refreshed after 20 of 30 steps
    assert go_on.train_s == pytest.approx(30 * go_on.step_s + 3 * go_on.chapter_s + go_on.refresh_s)


def test_memory_is_that_of_the_program_that_needs_most():
    def build(config):
        def validate(state, split, key):
            factors = jax.random.normal(key, (500, 500))
            return jnp.square(factors @ factors @ factors).mean()

        return toy.build(config)._replace(validate=validate)

    (plain,), (hungry,) = (say_plan(toy.Config(second_steps=0), one, options()) for one in (toy.build, build))
    assert plain.memory < 10**6 < hungry.memory
    assert hungry.state == plain.state


def test_no_seed_stops_while_its_steps_are_timed(monkeypatch):
    active, chapter = [], preview.run_chapter

    def seen(session, programs, run, done, count):
        active.extend(np.asarray(run.active).tolist())
        return chapter(session, programs, run, done, count)

    monkeypatch.setattr(preview, "run_chapter", seen)
    # the score of validation rises from the first step on
    say_plan(toy.Config(second_steps=0, patience=1, validation_rises_after=-1), toy.build, options())
    assert len(active) >= 3 * 2
    assert all(active)


def test_a_refresh_is_timed_of_all_seeds_whatever_it_finds():
    refreshed = []

    def build(config):
        experiment = toy.build(config)
        first, second = experiment.phases
        refresh = lambda state, split: refreshed.append(1) or toy.refresh(state, split)  # noqa: E731
        return experiment._replace(phases=(first, second._replace(refresh=refresh, finished=lambda state: True)))

    say_plan(toy.Config(), build, options())
    assert len(refreshed) == 2 * 2


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (999_499, "999 kB"), (999_600, "1 MB"), (2.5e12, "2.5 TB")]
)
def test_sizes_have_three_digits(count, shown):
    assert preview._scaled(count, "B") == shown


@pytest.mark.parametrize(("devices", "seeds", "driver"), [(2, 2, "pmap"), (8, 2, "shard_map")])
def test_what_lies_on_one_of_several_devices(toys, devices, seeds, driver):
    config = toy.Config(second_steps=0)
    (fit,) = say_plan(config, toy.build, options(devices=devices, seeds=seeds, driver=driver))
    # a seed on each device, or on each row of four of them; the data on all
    assert fit.state == (toys[0].state - 8) // 2 + 8
    assert fit.data == toys[0].data
    assert fit.memory > fit.state + fit.data


def phase_of(loss, init, batch_size):
    return Phase("train", train.minimise(loss, init, optax.sgd(0.1)), 10, batch_size, 10)


def test_operations_of_a_loop_count_as_often_as_it_runs():
    num_steps, features, hidden = 7, 3, 5

    def loss(params, batch, key, state):
        def step(h, x):
            return jnp.tanh(x @ params["x"] + h @ params["h"]), None

        h, _ = jax.lax.scan(step, jnp.zeros((len(batch["x"]), hidden)), jnp.swapaxes(batch["x"], 0, 1))
        return h.sum(axis=1), train.Aux({})

    def init(key):
        return {"x": jnp.ones((features, hidden)), "h": jnp.ones((hidden, hidden))}

    split = Split({"x": np.zeros((20, num_steps, features), np.float32)})
    # forward both products; backward one for each weight, and one for the state before
    products = 2 * features * hidden + 3 * hidden * hidden
    assert preview.step_flops(phase_of(loss, init, 4), split) == 2 * 4 * num_steps * products


def test_without_loops_the_operations_are_nearly_those_of_xla():
    def loss(params, batch, key, state):
        return losses.squared_error(jnp.tanh(batch["x"] @ params["w"]) @ params["v"], batch["x"]), train.Aux({})

    def init(key):
        return {"w": jnp.ones((64, 96)), "v": jnp.ones((96, 64))}

    phase, split = phase_of(loss, init, 64), Split({"x": np.zeros((64, 64), np.float32)})
    counted = preview.step_flops(phase, split)
    assert counted == 2 * 64 * (5 * 64 * 96)
    start = phase.learner.init(jax.random.key(0))
    compiled = jax.jit(phase.learner.step).lower(start, {"x": jnp.zeros((64, 64)), "index": jnp.arange(64)}).compile()
    assert counted < compiled.cost_analysis()["flops"] < 1.1 * counted


def test_parameters_are_shown_by_player_or_module():
    a, b = jnp.zeros((2, 3)), jnp.zeros(4)
    assert preview.part_sizes({"generator": {"params": {"a": a}}, "critic": {"a": a, "b": b}}) == {
        "generator": 6,
        "critic": 10,
    }
    assert preview.part_sizes({"params": {"encoder": {"a": a, "b": b}, "bias": b}}) == {"encoder": 10, "bias": 4}
    assert preview.part_sizes({"params": {"encoder": {"a": a, "b": b}}}) == {"a": 6, "b": 4}


@pytest.mark.parametrize(("fixed_s", "step_s", "longest"), [(0, 0.002, 10**5), (3, 1e-6, 10**7), (0, 2, 50), (0, 1, 1)])
def test_the_time_of_a_step_is_that_of_some_less_what_is_fixed(fixed_s, step_s, longest):
    """Fixed is what a long chapter takes in which most steps are masked."""
    tried = []

    def timed(count):
        tried.append(count)
        return fixed_s + step_s * count

    found = preview.step_seconds(timed, longest, agreed=lambda count, enough: enough)
    assert found == pytest.approx(step_s, rel=1e-3)
    # a few times the half second that is enough, unless a step alone takes longer
    assert sum(tried) * step_s < max(4, 6 * step_s)


def test_where_masked_steps_take_their_time_a_whole_chapter_is_timed():
    assert preview.step_seconds(lambda count: 7.0, 100, first=100, agreed=lambda *given: False) == 0.07


def test_the_command_shows_the_table_and_writes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--seeds", "2", "--devices", "1", "--second-steps", "0", "--run-dir", "run"]
    code, out, err = command(capsys, "--plan", *flags, module=toy)
    assert code == 0, err
    for words in ("2 seed(s) by map", "1 cpu device(s)", "by jit", "batches of 16", "fit", "FLOPs/step", "predicted: "):
        assert words in out
    assert "fit: parameters of a seed: parameters 4\n" in out
    assert not list(tmp_path.iterdir())


def test_bad_input_ends_as_it_would_end_the_run(capsys):
    for args, words in ((["--steps", "-3"], "steps=-3"), (["--replay", "a@3"], "--plan and --replay")):
        code, _, err = command(capsys, "--plan", *QUICK, *args)
        assert (code, len(err.splitlines())) == (2, 1), err
        assert words in err


@pytest.mark.long
@pytest.mark.parametrize("seconds", [20])
def test_the_prediction_is_within_a_factor_of_two_of_the_run(seconds, tmp_path):
    from experiments import linear_autoencoder

    config = linear_autoencoder.Config(steps=100_000, chapter_steps=500)
    (found,) = say_plan(config, linear_autoencoder.build, options(seeds=1))
    steps = int(seconds * 100_000 / found.train_s) // 500 * 500
    experiment = linear_autoencoder.build(linear_autoencoder.Config(steps=steps, chapter_steps=500))
    session = make_session(experiment, make_plan(options(seeds=1)), tmp_path)
    start = state.restore_or_start(session)
    begin = time.monotonic()
    train_phases(session, start)
    took = time.monotonic() - begin - session.timing["compile_s"]
    print(f"predicted {steps / 100_000 * found.train_s:.1f} s, took {took:.1f} s")
    assert 0.5 < took / (steps / 100_000 * found.train_s) < 2
