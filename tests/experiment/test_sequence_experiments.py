"""Adding, copying, music and text: known answers, causality, padding, runs of seconds that beat trivial answers."""

import dataclasses
import io
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import command
from short_runs import broken_and_whole

from experiments import adding, character_model, copy_memory, music
from seqjax import losses
from seqjax.data.sentences import nats_a_character, sentences, written
from seqjax.data.streams import steps_an_epoch
from seqjax.data.synthetic import BLANK, blind_copying_cost
from seqjax.errors import UsageError
from seqjax.experiment import Options, state
from seqjax.experiment.command import evaluated
from seqjax.experiment.session import make_plan
from seqjax.plots import pages
from seqjax.types import Split

pytestmark = pytest.mark.usefixtures("quick_compilation")

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
    character_model: {  # `dataset` is the fixture's text, whose epochs have 22 steps: chapters end within them
        "hidden_size": 24,
        "batch_size": 8,
        "length": 16,
        "steps": 80,
        "chapter_steps": 20,
        "learning_rate": 2e-2,
        "ema_decay": 0.9,
    },
}
MEASURE = {
    adding: "squared_error",
    copy_memory: "nats_a_step",
    music: "nats_a_frame",
    character_model: "nats_a_character",
}
BASELINES = {adding: ("blind",), copy_memory: ("blind",), music: ("marginal", "markov"), character_model: ("unigram",)}
OTHER_FIGURES = {adding: set(), copy_memory: {"answers"}, music: {"predictions"}, character_model: {"samples"}}
BUILT = {}


@pytest.fixture(autouse=True, scope="module")
def small_text(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "small.txt"
    path.write_text(written(sentences(), 3000))
    SMALL[character_model]["dataset"] = str(path)


def config_of(module, **changes):
    sizes = {"test_size": 200} if module in (adding, copy_memory) else {}
    return module.Config(**(SMALL[module] | sizes | changes))


def built(module):
    """The experiment and an untrained state, made once for all tests."""
    if module not in BUILT:
        experiment = module.build(config_of(module))
        BUILT[module] = experiment, experiment.phases[0].learner.init(jax.random.key(0))
    return BUILT[module]


@pytest.mark.debug
@pytest.mark.parametrize("module", SMALL)
def test_stopped_and_continued_ends_as_unbroken_and_better_than_trivial(module, tmp_path):
    (experiment, _), plan = built(module), make_plan(Options(seeds=1, devices=1))
    whole = broken_and_whole(experiment, plan, tmp_path)
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


def test_a_carry_goes_on_within_an_epoch_and_begins_anew_at_its_wrap():
    experiment = character_model.build(config_of(character_model, learning_rate=1e-30))
    phase, data = experiment.phases[0], experiment.data.train
    epoch_steps = steps_an_epoch(data.num_examples, batch_size=8, length=16)
    assert 2 < epoch_steps < 80
    assert epoch_steps % 20
    start, step = phase.learner.init(jax.random.key(0)), jax.jit(phase.learner.step)
    read = jax.jit(experiment.functions["logits"])
    batches = [phase.batch_at(data, jax.random.key(1), jnp.int32(k), batch_size=8) for k in range(epoch_steps + 1)]
    state, losses_of = start, []
    for batch in batches:
        state, metrics = step(state, batch)
        losses_of.append(float(metrics["loss"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-20), state.params, start.params)

    # three steps cost what their characters cost in one sequence, which no step has seen from its beginning
    symbols = jnp.concatenate([b["x"] for b in batches[:3]], axis=1)
    targets = jnp.concatenate([b["target"] for b in batches[:3]], axis=1)
    log_likely = jax.nn.log_softmax(read(start.params, symbols))
    nats = -np.take_along_axis(log_likely, targets[..., None], axis=-1)[..., 0].reshape(8, 3, 16).sum(axis=2)
    mean_length = data.num_examples / (8 * epoch_steps)
    np.testing.assert_allclose(losses_of[:3], nats.mean(axis=0) / mean_length, rtol=1e-5)

    other = state._replace(extra=state.extra | {"carry": jax.tree.map(jnp.ones_like, state.extra["carry"])})
    for number, depends in ((3, True), (epoch_steps, False)):
        same = step(other, batches[number])[1]["loss"] == step(state, batches[number])[1]["loss"]
        assert bool(same) is not depends


def test_every_character_of_the_test_text_is_scored_once_after_the_text_before_it():
    experiment, start = built(character_model)
    row = np.concatenate([experiment.data.train.fields["x"], *held_out_texts(experiment.data)])
    measured = experiment.evaluate(start, experiment.data, jax.random.key(0))["lstm/nats_a_character"]
    num_test = 3000 - 2700 - 150
    own = -(-num_test // character_model.STREAMS)
    total = 0.0
    read = jax.jit(experiment.functions["logits"])
    for first in range(len(row) - num_test, len(row), own):
        targets = row[first : first + own]
        before = row[first - 1 - character_model.WARM_UP : first + len(targets) - 1]
        # filled up behind, so that one program reads them all
        read_row = np.pad(before, (0, own - len(targets)))[None]
        log_likely = jax.nn.log_softmax(read(start.params, read_row))[0, character_model.WARM_UP :]
        total -= np.asarray(log_likely, np.float64)[np.arange(len(targets)), targets].sum()
    assert measured == pytest.approx(total / num_test, rel=1e-6)


def held_out_texts(data):
    return [split.fields["target"][split.fields["mask"]] for split in (data.validation, data.test)]


def test_no_logit_depends_on_characters_that_come_later():
    experiment, start = built(character_model)
    read = jax.jit(lambda x: experiment.functions["logits"](start.params, x))
    x = jnp.asarray(experiment.data.train.fields["x"][:24].reshape(2, 12))
    before = np.asarray(read(x))
    for t in (0, 5, 11):
        after = np.asarray(read(x.at[:, t].set((x[:, t] + 3) % 20)))
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert np.abs(after[:, t:] - before[:, t:]).max(axis=(0, 2)).min() > 0


def test_the_made_up_text_is_shown_beside_its_entropy_and_silence_costs_the_alphabet():
    experiment = character_model.build(config_of(character_model, dataset="sentences"))
    start = experiment.phases[0].learner.init(jax.random.key(0))
    silent = start._replace(params=jax.tree.map(jnp.zeros_like, start.params))
    measured = experiment.evaluate(silent, experiment.data, jax.random.key(0))
    nats = {row: measured[f"{row}/nats_a_character"] for row in ("lstm", "unigram", "ngram", "bz2", "lzma", "source")}
    num_symbols = start.params["params"]["readout"]["bias"].shape[0]
    assert nats["lstm"] == pytest.approx(np.log(num_symbols), rel=1e-5)
    assert nats["source"] == pytest.approx(nats_a_character(sentences()), rel=0.02)
    assert nats["source"] < min(nats["ngram"], nats["bz2"], nats["lzma"]) < nats["unigram"] < nats["lstm"]
    for row, value in nats.items():
        assert measured[f"{row}/bits_a_character"] == pytest.approx(value / np.log(2))


def test_samples_go_on_from_the_prompt_and_pages_show_them_as_they_are():
    experiment, start = built(character_model)
    sample, key = experiment.functions["sample"], jax.random.key(5)
    params = jax.tree.map(lambda p: 3 * p, start.params)
    likely = sample(params, key, prompt="the fox", length=20, temperature=0.0)
    assert len(likely) == 20
    assert likely == sample(params, jax.random.key(6), prompt="the fox", length=20, temperature=0.0)
    # the first half of the answer, put behind the prompt, is answered by the second
    assert sample(params, key, prompt="the fox" + likely[:10], length=10, temperature=0.0) == likely[10:]
    warm = [sample(params, k, prompt="the fox", length=20) for k in (key, key, jax.random.key(6))]
    assert warm[0] == warm[1] != warm[2]
    assert len(sample(params, key, prompt="Ω", length=3)) == 3
    with pytest.raises(UsageError, match="prompt=''"):
        sample(params, key, prompt="")
    with pytest.raises(UsageError, match="temperature=-1"):
        sample(params, key, temperature=-1.0)
    figure = pages({"a": "$x$ is $y\n\n" + "long " * 20, "b": "tab\tand\x00"}, columns=40, lines=3)
    figure.savefig(io.BytesIO())
    assert figure.axes[0].texts[0].get_text() == "$x$ is $y\n\n" + ("long " * 8)
    assert figure.axes[1].texts[0].get_text() == "tab and "


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
        (character_model, ["--dataset", "chords"], ["chords holds no text"]),
        (character_model, ["--batch-size", "9000"], ["180000 characters", "9000 x 64", "--batch-size"]),
        (character_model, ["--length", "0"], ["length=0"]),
        (character_model, ["--dropout", "1"], ["dropout=1"]),
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
