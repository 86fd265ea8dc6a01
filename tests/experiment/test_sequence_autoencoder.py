"""Series told from their codes: a run better than the mean, errors by hand, futures, settings that cannot be."""

import jax
import numpy as np
import pytest
from commands import command
from short_runs import stopped_and_continued

from experiments import sequence_autoencoder
from seqjax.data.load import load

pytestmark = pytest.mark.usefixtures("quick_compilation")

FRAME = 8
SMALL = sequence_autoencoder.SMOKE | {
    "frame": FRAME,
    "hidden_size": 16,
    "encoder_size": 16,
    "horizon": 1,
    "learning_rate": 2e-2,
    "steps": 60,
    "chapter_steps": 30,
}
BUILT = {}


def built():
    """The experiment and an untrained state, made once for all tests."""
    if not BUILT:
        experiment = sequence_autoencoder.build(sequence_autoencoder.Config(**SMALL))
        BUILT.update(experiment=experiment, start=jax.jit(experiment.phases[0].learner.init)(jax.random.key(0)))
    return BUILT["experiment"], BUILT["start"]


def silent():
    """All weights zero: a code of nothing, of which zeros are told, the mean of every channel."""
    experiment, start = built()
    return experiment, start._replace(params=jax.tree.map(np.zeros_like, start.params))


@pytest.mark.debug
def test_stopped_and_continued_ends_as_unbroken_and_better_than_the_mean(tmp_path):
    measured, figures = stopped_and_continued(built()[0], tmp_path)
    own = measured["recurrent_autoencoder/squared_error"]
    assert own < 0.85 * measured["mean/squared_error"]
    assert measured["recurrent_autoencoder/future_squared_error"] < measured["last_value/future_squared_error"]
    assert set(figures) == {"reconstructions", "latent_map", "error_against_code_size"}
    lines = figures["reconstructions"].axes[0].lines
    assert [line.get_label() for line in lines] == ["truth", "recurrent autoencoder", "PCA-8", "future"]
    length = int(load("events").test.fields["length"][0])
    future = lines[-1].get_ydata()
    # the last frame, which the series may end in
    assert np.isfinite(future).sum() == length - FRAME * (-(-length // FRAME) - 1)
    assert np.isfinite(future[-1])


def standardised():
    train, test = load("events").train.fields, load("events").test.fields
    seen = np.arange(96)[None] < train["length"][:, None]
    mean, stddev = train["x"][seen].mean(axis=0), train["x"][seen].std(axis=0)
    return (test["x"] - mean) / stddev, test["length"]


def test_who_tells_nothing_errs_by_the_squares_of_the_values_of_all_series_and_of_their_futures():
    experiment, state = silent()
    measured = experiment.evaluate(state, experiment.data, jax.random.key(0))
    x, length = standardised()
    seen = np.arange(96)[None] < length[:, None]
    assert measured["recurrent_autoencoder/squared_error"] == pytest.approx(np.square(x[seen]).mean(), rel=1e-4)
    begins = FRAME * (-(-length // FRAME) - 1)
    future = seen & (np.arange(96)[None] >= begins[:, None])
    squares = np.square(x[future]).mean()
    assert measured["recurrent_autoencoder/future_squared_error"] == pytest.approx(squares, rel=1e-4)
    assert measured["mean/future_squared_error"] == pytest.approx(squares, rel=1e-4)
    last = np.take_along_axis(x, begins[:, None, None] - 1, axis=1)
    error = np.square((x - last)[future]).mean()
    assert measured["last_value/future_squared_error"] == pytest.approx(error, rel=1e-4)
    assert experiment.health({name: {"mean": value} for name, value in measured.items()}) == "collapsed"


def test_importers_encode_series_in_the_units_of_the_data():
    experiment, start = built()
    test = load("events").test.fields
    codes = experiment.functions["encode"](start.params, test["x"][:5], test["length"][:5])
    assert codes.shape == (5, 8)
    spoilt = np.where(np.arange(96)[None, :, None] < test["length"][:5, None, None], test["x"][:5], 1e3)
    again = experiment.functions["encode"](start.params, spoilt, test["length"][:5])
    np.testing.assert_array_equal(codes, again)
    alone = experiment.functions["encode"](start.params, test["x"][4:5, : test["length"][4]])
    np.testing.assert_allclose(alone, codes[4:], atol=1e-5)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--horizon", "32"], ["horizon=32", "0 to 31", "32 steps"]),
        (["--horizon", "-1"], ["horizon=-1"]),
        (["--future-weight", "-1"], ["future_weight=-1"]),
        (["--latent-size", "0"], ["latent_size=0"]),
        (["--frame", "0"], ["frame=0"]),
        (["--reading", "aloud"], ["--reading"]),
        (["--dataset", "ring"], ["ring has x of shape"]),
    ],
)
def test_bad_arguments(capsys, tmp_path, args, words):
    code, _, err = command(capsys, "--run-dir", tmp_path, *args, "--devices", "1", module=sequence_autoencoder)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err
