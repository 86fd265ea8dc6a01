"""Forecasts of one long series: known answers, exact causality, series of users, and a run that beats the past."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import command
from short_runs import stopped_and_continued

from experiments import forecast
from seqjax.data.long_series import long_series
from seqjax.data.scaling import channel_scale

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = {
    "context": 12,
    "horizon": 3,
    "hidden_size": 16,
    "learning_rate": 2e-2,
    "steps": 80,
    "chapter_steps": 20,
    "batch_size": 32,
}
BUILT = {}


def built():
    """The experiment and an untrained state, made once for all tests."""
    if not BUILT:
        experiment = forecast.build(forecast.Config(**SMALL))
        BUILT.update(experiment=experiment, start=experiment.phases[0].learner.init(jax.random.key(0)))
    return BUILT["experiment"], BUILT["start"]


@pytest.mark.debug
def test_stopped_and_continued_ends_as_unbroken_and_better_than_the_past(tmp_path):
    experiment, _ = built()
    measured, figures = stopped_and_continued(experiment, tmp_path)
    assert measured["noise/squared_error"] < measured["gru/squared_error"]
    for row in ("last_value", "seasonal"):
        assert measured["gru/squared_error"] < 0.95 * measured[f"{row}/squared_error"]
        assert measured["gru/absolute_error"] < measured[f"{row}/absolute_error"]
    assert set(figures) == {"gradient_flow", "errors_by_step", "forecasts"}
    lines = {line.get_label(): line.get_ydata() for line in figures["errors_by_step"].axes[0].lines}
    assert set(lines) == {"gru", "last_value", "seasonal", "ar", "var", "noise"}
    for row, errors in lines.items():
        assert np.mean(errors) == pytest.approx(measured[f"{row}/squared_error"], rel=1e-6)


def test_a_silent_readout_says_the_last_value():
    experiment, start = built()
    silent = start._replace(params=jax.tree.map(jnp.zeros_like, start.params))
    measured = experiment.evaluate(silent, experiment.data, jax.random.key(0))
    for measure in ("squared_error", "absolute_error"):
        assert measured[f"gru/{measure}"] == pytest.approx(measured[f"last_value/{measure}"], rel=1e-6)
    # and what is validated is the same error on the validation split
    x = np.asarray(experiment.data.validation.fields["x"][0], np.float64)
    errors = [np.square(x[t + k] - x[t]).mean() for t in range(11, len(x) - 3) for k in (1, 2, 3)]
    cost = experiment.validate(silent, experiment.data.validation, jax.random.key(0))
    assert float(cost) == pytest.approx(np.mean(errors), rel=1e-5)


def test_the_units_are_standard_deviations_of_the_training_split():
    experiment, _ = built()
    x = experiment.data.train.fields["x"]
    np.testing.assert_allclose(x.mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=(0, 1)), 1, rtol=1e-5)
    assert abs(float(experiment.data.test.fields["x"].std()) - 1) > 1e-4


def test_the_loss_is_the_error_of_forecasts_at_every_step_each_from_the_steps_before_alone():
    learner = forecast.build(forecast.Config(**SMALL | {"context": 3})).phases[0].learner
    experiment, start = built()
    x = jax.random.normal(jax.random.key(1), (2, 6, 4))
    _, metrics = jax.jit(learner.step)(start, {"x": x, "index": jnp.arange(2)})
    predict = jax.jit(experiment.functions["predict_standardised"])
    errors = [np.square(predict(start.params, x[:, : t + 1]) - x[:, t + 1 : t + 4]) for t in range(3)]
    assert float(metrics["loss"]) == pytest.approx(np.mean(errors), rel=1e-5)


def test_forecasts_from_changes_move_with_the_level():
    experiment = forecast.build(forecast.Config(**SMALL, inputs="changes"))
    params = experiment.phases[0].learner.init(jax.random.key(0)).params
    x = jax.random.normal(jax.random.key(1), (2, 12, 4))
    predict = experiment.functions["predict_standardised"]
    np.testing.assert_allclose(predict(params, x + 7), predict(params, x) + 7, atol=1e-5)
    plain, start = built()
    predict = plain.functions["predict_standardised"]
    assert np.abs(predict(start.params, x + 7) - predict(start.params, x) - 7).max() > 0.1


def test_importers_predict_in_the_units_of_the_series():
    experiment, start = built()
    raw, scaled = long_series("seasons").test.fields["x"][:, :12], experiment.data.test.fields["x"][:, :12]
    scale = channel_scale(long_series("seasons").train)
    said = experiment.functions["predict_standardised"](start.params, scaled)
    expected = said * scale.stddev.astype(np.float32)[None, None] + scale.mean.astype(np.float32)[None, None]
    np.testing.assert_allclose(experiment.functions["predict"](start.params, raw), expected, atol=1e-5)


def test_a_users_series_with_a_constant_channel_and_a_period_of_its_own(tmp_path):
    steps = np.arange(200.0)
    np.save(tmp_path / "own.npy", np.stack([1000 + np.sin(2 * np.pi * steps / 5), 0 * steps + 3], axis=1))
    config = forecast.Config(**SMALL | {"steps": 2}, dataset=str(tmp_path / "own.npy"), period=5)
    experiment = forecast.build(config)
    measured = experiment.evaluate(
        experiment.phases[0].learner.init(jax.random.key(0)), experiment.data, jax.random.key(0)
    )
    assert all(np.isfinite(value) for value in measured.values())
    assert measured["seasonal/squared_error"] < 1e-6 < measured["last_value/squared_error"]
    assert "noise/squared_error" not in measured


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--context", "0"], ["context=0"]),
        (["--horizon", "0"], ["horizon=0"]),
        (["--period", "49"], ["period=49", "1 to context=48"]),
        (["--dropout", "1"], ["dropout=1"]),
        (["--context", "600"], ["validation split has 600 steps", "624", "--context"]),
        (["--dataset", "digits"], ["'digits'", "seasons or stocks"]),
    ],
)
def test_bad_arguments(capsys, tmp_path, args, words):
    code, _, err = command(capsys, "--run-dir", tmp_path / "run", *args, "--devices", "1", module=forecast)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err
