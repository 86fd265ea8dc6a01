"""Choosing a size: what the folds are told and asked, one program for traced fields, runs stopped and continued."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import command
from short_runs import stopped_and_continued

from experiments import hidden_size
from seqjax import train
from seqjax.evaluate.cross_validation import curve
from seqjax.models import sequence_encoders
from seqjax.recurrent import gru

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = {"sizes": (2, 3), "folds": 2, "frame": 24, "batch_size": 8, "steps": 3, "chapter_steps": 3}


def built(**changes):
    return hidden_size.build(hidden_size.Config(**(SMALL | changes)))


def batch_of(split, rows):
    return {name: jnp.asarray(field[rows]) for name, field in split.fields.items()} | {"index": jnp.asarray(rows)}


@pytest.mark.debug
def test_stopped_and_continued_ends_as_unbroken_and_better_than_the_last_value(tmp_path):
    experiment = hidden_size.build(hidden_size.Config(**hidden_size.SMOKE))
    # the second of two chapters of the second size
    measured, figures = stopped_and_continued(experiment, tmp_path, chapters=3)
    rows = {"hidden_size_2", "hidden_size_12", "best", "chosen", "last_value", "mean"}
    assert {name.split("/")[0] for name in measured} == rows
    assert measured["chosen/hidden_size"] == measured["best/hidden_size"] == 12
    assert measured["chosen/fold_error"] == measured["hidden_size_12/fold_error"]
    assert measured["hidden_size_12/fold_error"] < measured["hidden_size_2/fold_error"]
    assert measured["chosen/test_error"] < min(measured["last_value/test_error"], measured["mean/test_error"])
    assert set(figures) == {"error_curve"}


def test_a_fold_moves_no_weight_of_the_point_that_leaves_it_out():
    """Rows of fold 0 alone: the point without that fold stands still, the one without fold 1 and the last one move."""
    experiment = built()
    learner, data = experiment.phases[0].learner, experiment.data
    start = jax.jit(learner.init)(jax.random.key(5))
    folds = np.asarray(
        hidden_size.fold_numbers(
            jax.random.fold_in(start.key, hidden_size.FOLDS), 300, num_folds=2, labels=data.train.fields["label"]
        )
    )
    rows = np.flatnonzero(folds == 0)[:8]
    state, metrics = jax.jit(learner.step)(start, batch_of(data.train, rows))
    moved = [
        any((a[g] != b[g]).any() for a, b in zip(*map(jax.tree.leaves, (state.params, start.params)), strict=True))
        for g in range(3)
    ]
    assert moved == [False, True, True]
    # over half of the rows, each of which counts twice
    assert np.isfinite(metrics["loss"])
    spoilt = np.array(data.train.fields["x"])
    spoilt[folds == 1] += 100.0
    changed = data.validation._replace(fields=data.validation.fields | {"x": spoilt})
    validate = jax.jit(experiment.validate)
    before = validate(start, data.validation, jax.random.key(0))
    assert validate(start, changed, jax.random.key(0)) > 10 * before


@pytest.mark.parametrize("rule", ["one_standard_error", "best"])
def test_each_fold_is_asked_of_who_did_not_see_it_and_the_test_split_of_who_saw_all(rule):
    candidates = (1e-3, 2e-2)
    experiment = built(field="learning_rate", candidates=candidates, hidden_size=3, rule=rule)
    learner, data = experiment.phases[0].learner, experiment.data
    state, step = jax.jit(learner.init)(jax.random.key(5)), jax.jit(learner.step)
    for rows in (np.arange(8), np.arange(8, 16)):
        state, _ = step(state, batch_of(data.train, rows))
    folds = np.asarray(
        hidden_size.fold_numbers(
            jax.random.fold_in(state.key, hidden_size.FOLDS), 300, num_folds=2, labels=data.train.fields["label"]
        )
    )
    errors = jax.jit(functools.partial(sequence_encoders.predicted_errors, sequence_encoders.next_step(gru, 3)))
    by_fold, of_test, left_out = [], [], []
    for number in range(2):
        for fold in range(3):
            params = train.at_point(state, 3 * number + fold).params
            split, rows = (data.train, np.flatnonzero(folds == fold)) if fold < 2 else (data.test, np.arange(300))
            found, values = errors(params, batch_of(split, rows))
            (by_fold if fold < 2 else of_test).append(float(found.sum() / values.sum()))
            left_out += [(found.sum(), values.sum())] if fold < 2 else []
    expected = curve(np.reshape(by_fold, (2, 2)), rule=rule)
    # errors that hardly differ: the rules choose otherwise
    assert (expected.best, expected.chosen) == (1, 0 if rule == "one_standard_error" else 1)
    measured = experiment.evaluate(state, data, jax.random.key(0))
    for number, value in enumerate(candidates):
        assert measured[f"learning_rate_{value:g}/fold_error"] == pytest.approx(expected.mean[number], rel=1e-5)
        assert measured[f"learning_rate_{value:g}/test_error"] == pytest.approx(of_test[number], rel=1e-5)
    assert measured["chosen/learning_rate"] == candidates[expected.chosen]
    total, count = np.sum(left_out, axis=0)
    validated = experiment.validate(state, data.validation, jax.random.key(0))
    assert float(validated) == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize(
    ("field", "candidates", "options"),
    [
        ("beta", (0.1, 1.0), {"model": "sequence_vae"}),
        ("future_weight", (0.5, 2.0), {"model": "recurrent_autoencoder", "horizon": 1}),
    ],
)
def test_a_traced_field_is_one_phase_whose_points_part_company(field, candidates, options):
    experiment = built(field=field, candidates=candidates, hidden_size=3, latent_size=2, **options)
    (phase,) = experiment.phases
    state, step = jax.jit(phase.learner.init)(jax.random.key(0)), jax.jit(phase.learner.step)
    for rows in (np.arange(8), np.arange(8, 16)):
        state, _ = step(state, batch_of(experiment.data.train, rows))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state.params)]
    # two candidates, each without fold 0, without fold 1, with all
    assert all(len(leaf) == 6 for leaf in leaves)
    assert max(np.abs(leaf[:3] - leaf[3:]).max() for leaf in leaves) > 1e-5
    assert train.at_point(state, 5).extra["hyper"][field] == np.float32(candidates[1])
    if field == "beta":
        measured = experiment.evaluate(state, experiment.data, jax.random.key(0))
        assert {"beta_0.1/fold_error", "beta_1/test_error", "chosen/beta", "pca/test_error"} <= set(measured)
        assert measured["mean/test_error"] == pytest.approx(1.0, abs=0.1)
        assert all(np.isfinite(value) for value in measured.values())


@pytest.mark.parametrize(("field", "candidates"), [("steps", (2, 5)), ("clip_norm", (1.0, 1e-3))])
def test_another_number_trains_as_if_it_were_the_configuration(field, candidates):
    experiment = built(field=field, candidates=candidates, hidden_size=3)
    assert [phase.name for phase in experiment.phases] == [f"{field}_{value:g}" for value in candidates]
    alone = built(field="learning_rate", candidates=(1e-2, 2e-2), hidden_size=3, **{field: candidates[1]})
    phases = experiment.phases[1], alone.phases[0]
    assert phases[0].steps == phases[1].steps
    states = []
    for phase in phases:
        state, step = jax.jit(phase.learner.init)(jax.random.key(0)), jax.jit(phase.learner.step)
        for _ in range(2):
            state, _ = step(state, batch_of(experiment.data.train, np.arange(8)))
        states.append(state.params)
    # the first three points are those of a learning rate of 1e-2
    for own, theirs in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(own, theirs[:3], rtol=1e-5, atol=1e-7)


def test_batches_and_horizons_are_chosen_too():
    phases = built(field="batch_size", candidates=(4, 8)).phases
    assert [phase.batch_size for phase in phases] == [4, 8]
    phases = built(field="horizon", candidates=(0, 1), model="recurrent_autoencoder", latent_size=2).phases
    starts = [jax.eval_shape(phase.learner.init, jax.random.key(0)).params["params"] for phase in phases]
    assert ["future" in params for params in starts] == [False, True]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--sizes", "8", "4"], ["hidden_size=(8, 4)", "smallest first"]),
        (["--sizes", "4"], ["two or more different"]),
        (["--sizes", "0", "4"], ["from 1 on"]),
        (["--candidates", "4", "8"], ["candidates", "--sizes"]),
        (["--field", "beta", "--candidates", "1", "2"], ["field=beta", "next_step has none", "sequence_vae"]),
        (["--field", "learning_rate"], ["candidates=None", "learning_rate"]),
        (["--field", "learning_rate", "--candidates", "0", "1"], ["positive"]),
        (["--field", "num_layers", "--candidates", "1.5", "2"], ["whole numbers"]),
        (["--field", "steps", "--candidates", "0", "2"], ["whole numbers from 1 on"]),
        (["--field", "clip_norm", "--candidates", "0", "2"], ["positive"]),
        (["--field", "horizon", "--candidates", "0", "1"], ["field=horizon", "next_step has none"]),
        (
            ["--model", "recurrent_autoencoder", "--field", "future_weight", "--candidates", "1", "2"],
            ["horizon=0", "1 or more"],
        ),
        (["--folds", "301"], ["folds=301", "2 to 300"]),
        (["--folds", "1"], ["folds=1"]),
        (["--frame", "96"], ["series of one step", "lower --frame"]),
    ],
)
def test_what_cannot_be_chosen_is_refused(capsys, tmp_path, args, words):
    code, _, err = command(capsys, "--run-dir", tmp_path / "run", *args, "--devices", "1", module=hidden_size)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err
