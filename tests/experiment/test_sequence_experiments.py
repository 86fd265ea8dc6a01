"""Adding, copying and music: known answers, exact causality, padding, and runs of seconds that beat trivial answers."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import command

from experiments import adding, copy_memory, music
from seqjax import checkpoint, losses
from seqjax.data.synthetic import BLANK, blind_copying_cost
from seqjax.errors import Interrupted
from seqjax.experiment import Options, rundir, state
from seqjax.experiment.command import evaluated
from seqjax.experiment.phases import train_phases
from seqjax.experiment.session import make_plan, make_session
from seqjax.types import Split

SMALL = {
    adding: {"length": 6, "hidden_size": 16, "steps": 250, "chapter_steps": 50, "learning_rate": 2e-2},
    copy_memory: {"delay": 1, "hidden_size": 24, "steps": 200, "chapter_steps": 50, "learning_rate": 2e-2},
    music: {
        "dataset": "chords",
        "hidden_size": 24,
        "steps": 80,
        "chapter_steps": 20,
        "learning_rate": 2e-2,
        "ema_decay": 0.9,
    },
}
MEASURE = {adding: "squared_error", copy_memory: "nats_a_step", music: "nats_a_frame"}
BASELINES = {adding: ("blind",), copy_memory: ("blind",), music: ("marginal", "markov")}
OTHER_FIGURES = {adding: set(), copy_memory: {"answers"}, music: {"predictions"}}
BUILT = {}


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """Most of these tests' time would go into optimising programs that run for a second."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def config_of(module, **changes):
    sizes = {} if module is music else {"test_size": 200}
    return module.Config(**(SMALL[module] | sizes | changes))


def built(module):
    """The experiment and an untrained state, made once for all tests."""
    if module not in BUILT:
        experiment = module.build(config_of(module))
        BUILT[module] = experiment, experiment.phases[0].learner.init(jax.random.key(0))
    return BUILT[module]


@pytest.mark.parametrize("module", SMALL)
def test_stopped_and_continued_ends_as_unbroken_and_better_than_trivial(module, tmp_path):
    (experiment, _), plan = built(module), make_plan(Options(seeds=1, devices=1))

    def trained(name, **options):
        (tmp_path / name).mkdir(exist_ok=True)
        session = make_session(experiment, plan, tmp_path / name, **options)
        return train_phases(session, state.restore_or_start(session))

    with pytest.raises(Interrupted):
        trained("broken", stop_requested=lambda: True)
    broken, whole = trained("broken"), trained("whole")
    assert checkpoint.tree_sha256(broken) == checkpoint.tree_sha256(whole)
    assert rundir.read_metrics(tmp_path / "broken") == rundir.read_metrics(tmp_path / "whole")

    metrics = evaluated(experiment, whole, plan.seed_range)
    measured = {name: value["mean"] for name, value in metrics.items()}
    assert all(np.isfinite(value) for value in measured.values())
    own = measured[f"{config_of(module).cell}/{MEASURE[module]}"]
    for baseline in BASELINES[module]:
        assert own < 0.95 * measured[f"{baseline}/{MEASURE[module]}"]
    final = state.seed_state(state.selected(whole), 0)
    figures = experiment.figures(final, experiment.data, jax.random.key(0), metrics)
    assert set(figures) == {"gradient_flow"} | OTHER_FIGURES[module]
    names = [line.get_label() for line in figures["gradient_flow"].axes[0].lines]
    assert names == [f"{config_of(module).cell}, trained", "rnn, untrained", "gru, untrained", "lstm, untrained"]


def test_the_blind_answer_costs_a_sixth():
    data = adding.build(config_of(adding, test_size=20_000)).data
    answers = adding.trivial_answers(data.test.fields["x"])
    costs = {name: adding.measures(a, data.test.fields["target"])["squared_error"] for name, a in answers.items()}
    assert costs["blind"] == pytest.approx(1 / 6, rel=0.03)
    assert costs["second_value"] == pytest.approx(1 / 12, rel=0.03)
    assert adding.measures(data.test.fields["target"], data.test.fields["target"])["correct"] == 1


def copying_cost(symbol_logits, targets):
    return losses.categorical_cross_entropy(symbol_logits, targets) / targets.shape[1]


def test_a_perfect_copier_costs_nothing_and_a_blind_one_the_floor():
    experiment, _ = built(copy_memory)
    targets = jnp.asarray(experiment.data.test.fields["target"])
    sure = 1e3 * jax.nn.one_hot(targets, copy_memory.NUM_OUTPUTS)
    np.testing.assert_array_equal(copying_cost(sure, targets), 0)
    blank = 1e3 * jax.nn.one_hot(BLANK, copy_memory.NUM_OUTPUTS)
    any_symbol = jnp.zeros(copy_memory.NUM_OUTPUTS).at[BLANK].set(-1e3)
    blind = jnp.where((jnp.arange(targets.shape[1]) < targets.shape[1] - 10)[:, None], blank[None], any_symbol[None])
    costs = copying_cost(jnp.broadcast_to(blind[None], sure.shape), targets)
    np.testing.assert_allclose(costs, blind_copying_cost(1), rtol=1e-6)
    _, start = built(copy_memory)
    silent = jax.tree.map(jnp.zeros_like, start.params)
    cost = experiment.validate(start._replace(params=silent), experiment.data.validation, jax.random.key(0))
    assert float(cost) == pytest.approx(np.log(copy_memory.NUM_OUTPUTS), rel=1e-5)


def test_a_silent_readout_of_music_costs_a_bit_a_key():
    experiment, start = built(music)
    silent = start._replace(params=jax.tree.map(jnp.zeros_like, start.params))
    measured = experiment.evaluate(silent, experiment.data, jax.random.key(0))
    for measure in ("nats_a_frame", "nats_with_first"):
        assert measured[f"gru/{measure}"] == pytest.approx(88 * np.log(2), rel=1e-5)


@pytest.mark.parametrize(("module", "offset"), [(music, 0), (copy_memory, 1)])
def test_no_gradient_from_the_future(module, offset):
    """Music predicts frame t from frames before t; copying answers at step t from inputs up to t."""
    experiment, start = built(module)
    logits = experiment.functions["logits"]
    if module is music:
        x = experiment.data.test.fields["x"][:2, :12].astype(np.float32)
        outputs = lambda x, t: logits(start.params, x, jnp.asarray([12, 12]))[:, t].sum()  # noqa: E731
    else:
        model = copy_memory.SequenceModel(copy_memory.cell_function("lstm"), 24, copy_memory.NUM_OUTPUTS)
        x = jax.nn.one_hot(experiment.data.test.fields["x"][:2, :12], copy_memory.NUM_INPUTS)
        outputs = lambda x, t: model.apply(start.params, x)[:, t].sum()  # noqa: E731
    gradient = jax.jit(jax.grad(outputs), static_argnums=1)
    for t in (0, 5, 11):
        slope = np.asarray(gradient(jnp.asarray(x), t))
        np.testing.assert_array_equal(slope[:, t + offset :], 0)
        if t + offset > 0:
            assert np.abs(slope[:, : t + offset]).max(axis=(0, 2)).min() > 0


def test_padding_changes_neither_loss_nor_gradient():
    experiment, start = built(music)
    fields = experiment.data.train.fields
    batch = {"x": jnp.asarray(fields["x"][:4, :20]), "length": jnp.asarray([20, 13, 1, 7]), "index": jnp.arange(4)}
    step = jax.jit(experiment.phases[0].learner.step)
    after, metrics = step(start, batch)
    filled = batch | {"x": batch["x"].at[1:, 13:].set(True).at[2, 1:].set(True).at[3, 7:].set(True)}
    assert not np.array_equal(batch["x"], filled["x"])
    again, metrics_again = step(start, filled)
    assert metrics["loss"] == metrics_again["loss"]
    jax.tree.map(np.testing.assert_array_equal, after.params, again.params)
    longer = {**batch, "x": jnp.pad(batch["x"], ((0, 0), (0, 5), (0, 0)), constant_values=True)}
    costs = [
        experiment.validate(start, Split({k: b[k] for k in ("x", "length")}), jax.random.key(0))
        for b in (batch, filled, longer)
    ]
    np.testing.assert_allclose(costs, costs[0], rtol=1e-6)


def test_dropout_acts_in_training_alone():
    experiment, start = built(music)
    batch = {name: jnp.asarray(field[:4]) for name, field in experiment.data.train.fields.items()}
    step = jax.jit(experiment.phases[0].learner.step)
    first = step(start, {**batch, "index": jnp.arange(4)})[1]["loss"]
    other = step(start, {**batch, "index": jnp.arange(4) + 4})[1]["loss"]
    assert first != other
    plain = music.build(config_of(music, dropout=0.0, input_dropout=0.0)).phases[0].learner
    without = [jax.jit(plain.step)(start, {**batch, "index": jnp.arange(4) + i})[1]["loss"] for i in (0, 4)]
    assert without[0] == without[1]


@pytest.mark.parametrize(
    ("module", "args", "words"),
    [
        (adding, ["--length", "1"], ["length=1"]),
        (adding, ["--cell", "transformer"], ["--cell", "rnn"]),
        (adding, ["--stream"], ["makes its own batches"]),
        (copy_memory, ["--delay", "0"], ["delay=0"]),
        (music, ["--dataset", "digits"], ["digits holds no piano rolls"]),
        (music, ["--dataset", "chords", "--dropout", "1"], ["dropout=1"]),
        (music, ["--dataset", "chords", "--max-length", "0"], ["max_length=0"]),
    ],
)
def test_bad_arguments(capsys, tmp_path, module, args, words):
    code, _, err = command(capsys, "--run-dir", tmp_path / "run", *args, "--devices", "1", module=module)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err


def test_smoke_configurations_name_fields_and_times_are_told():
    for module in SMALL:
        dataclasses.replace(module.Config(), **module.SMOKE)
        assert re.search(r"\nTime: .*\d", module.__doc__)
