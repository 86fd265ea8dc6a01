"""Three models on the same series: each answers what it can, runs stopped and continued, and series that are none."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import command
from short_runs import stopped_and_continued

from experiments import autoencoder_vs_rnn
from seqjax import train
from seqjax.data.load import load
from seqjax.data.unlabelled import values_a_row
from seqjax.evaluate.cost import num_parameters
from seqjax.evaluate.embedding_tasks import clustering
from seqjax.evaluate.embeddings import embedded
from seqjax.evaluate.reconstruction import values_of

pytestmark = pytest.mark.usefixtures("quick_compilation")

HAVE = {
    "autoencoder": {"reconstruction_error"},
    "rnn": {"next_step_error", "last_step_error"},
    "recurrent_autoencoder": {"reconstruction_error", "last_step_error"},
    "pca": {"reconstruction_error"},
    "mean": {"reconstruction_error", "next_step_error", "last_step_error"},
    "last_value": {"next_step_error", "last_step_error"},
    "raw": set(),
}
BOTH = "recurrent_autoencoder"
ERRORS = {"reconstruction_error", "next_step_error", "last_step_error"}


@pytest.mark.debug
def test_stopped_and_continued_ends_as_unbroken_and_each_model_beats_its_baseline(tmp_path):
    experiment = autoencoder_vs_rnn.build(autoencoder_vs_rnn.Config(**autoencoder_vs_rnn.SMOKE))
    measured, figures = stopped_and_continued(experiment, tmp_path, chapters=5)
    for row, columns in HAVE.items():
        assert {name.split("/")[1] for name in measured if name.startswith(f"{row}/")} & ERRORS == columns
    for row in autoencoder_vs_rnn.MODELS:
        for column in HAVE[row]:
            assert measured[f"{row}/{column}"] < measured[f"mean/{column}"]
        assert {f"{row}/nmi", f"{row}/ari", f"{row}/accuracy"} <= set(measured)
    assert measured["rnn/next_step_error"] < measured["last_value/next_step_error"]
    assert measured["recurrent_autoencoder/nmi"] > measured["raw/nmi"]
    # 32 units between the two channels' 192 values and a code of 8
    sizes = (192, 32, 8, 32, 192)
    products = sum(a * b for a, b in itertools.pairwise(sizes))
    assert measured["autoencoder/multiply_adds"] == products
    assert measured["autoencoder/parameters"] == products + sum(sizes[1:])
    assert set(figures) == {"comparison", "series", "latent_map"}


def test_errors_are_of_single_values_of_the_right_steps():
    config = autoencoder_vs_rnn.Config(frame=24, hidden_size=3, hidden=(4,), latent_size=2)
    experiment = autoencoder_vs_rnn.build(config)
    last = experiment.phases[-1]
    state = jax.jit(last.learner.init)(jax.random.key(1))
    some = experiment.data.test
    counts, x = np.asarray(some.fields["mask"]), np.asarray(some.fields["x"], np.float64)
    lengths = some.fields["length"]
    # weights of zeros say 0, the mean
    silent = state._replace(params=jax.tree.map(jnp.zeros_like, state.params))
    silent.extra["others"] = jax.tree.map(jnp.zeros_like, state.extra["others"])
    expected = {
        "autoencoder/reconstruction_error": counts,
        "rnn/next_step_error": counts & (np.arange(4) > 0)[None, :, None],
        "recurrent_autoencoder/last_step_error": counts
        & ((np.arange(4)[None] == lengths[:, None] - 1) & (lengths[:, None] > 1))[:, :, None],
    }
    key = jax.random.key(0)
    found = experiment.evaluate(silent, experiment.data, key)
    for name, asked in expected.items():
        assert found[name] == pytest.approx(np.square(x[asked]).mean(), rel=1e-5)
    # so do the baselines of the mean
    for row, column in (("rnn", "next_step_error"), ("rnn", "last_step_error"), (BOTH, "last_step_error")):
        assert found[f"{row}/{column}"] == pytest.approx(found[f"mean/{column}"], rel=1e-5)
    # reconstructed and predicted together are all values, each once
    fields = experiment.data.validation.fields
    squares = np.square(np.where(fields["mask"], fields["x"], 0).astype(np.float64)).sum(axis=(1, 2)).mean()
    validated = float(experiment.validate(silent, experiment.data.validation, key))
    assert validated == pytest.approx(squares / values_a_row(experiment.data.train), rel=1e-5)
    # raw: as they come
    raw = embedded(values_of, load("events"))
    task = clustering(5, seed=int(jax.random.randint(key, (), 0, 2**31 - 1)))
    assert {name: found[f"raw/{name}"] for name in task(raw)} == pytest.approx(task(raw), abs=1e-9)
    for row in autoencoder_vs_rnn.MODELS:
        assert found[f"{row}/parameters"] == num_parameters(train.learned_by(state, row))
    codes = experiment.functions["encode"](state.params, np.zeros((2, 96, 1)), np.asarray([96, 5]))
    assert codes.shape == (2, 2)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--frame", "96"], ["events: series of one step", "lower --frame"]),
        (["--frame", "0"], ["frame=0"]),
        (["--num-clusters", "1"], ["--num-clusters 1"]),
        (["--dataset", "ring"], ["ring has x of shape"]),
    ],
)
def test_what_cannot_be_compared_is_refused(capsys, tmp_path, args, words):
    code, _, err = command(capsys, "--run-dir", tmp_path / "run", *args, "--devices", "1", module=autoencoder_vs_rnn)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err
