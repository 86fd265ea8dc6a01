"""The VAE of sequences on chords, lines of a text and series: stopped runs, baselines, figures, collapse."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from short_runs import stopped_and_continued

from experiments import sequence_vae
from seqjax.data.sentences import sentences, written

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = sequence_vae.Config(
    hidden_size=16,
    encoder_size=16,
    latent_size=6,
    learning_rate=2e-2,
    ema_decay=0.9,
    steps=120,
    chapter_steps=60,
    importance_samples=10,
)
FIGURES = {"samples", "reconstructions", "interpolations", "latent_map"}


@functools.cache
def chords():
    return sequence_vae.build(SMALL)


@pytest.mark.debug
def test_stopped_and_continued_ends_as_unbroken_and_better_than_trivial(tmp_path):
    measured, figures = stopped_and_continued(chords(), tmp_path)
    assert set(figures) == FIGURES
    own = measured["sequence_vae/nats_a_step"]
    assert own < measured["sequence_vae/negative_elbo"]
    assert own < 0.8 * measured["marginal/nats_a_step"]
    # the latents carry more than they cost
    assert own < measured["recurrent/nats_a_step"]
    assert measured["recurrent/nats_a_step"] < 0.9 * measured["marginal/nats_a_step"]
    assert measured["source/nats_a_step"] < own
    assert measured["sequence_vae/active_units"] >= 1


@functools.cache
def path_of(kind, folder):
    path = folder / ("lines.txt" if kind == "text" else "series.npz")
    if kind == "text":
        path.write_text(written(sentences(), 3000))
    else:
        rng = np.random.default_rng(0)
        phase = rng.uniform(0, 6, size=(40, 1, 1)) + np.arange(9)[None, :, None] * rng.uniform(0.2, 1, size=(40, 1, 2))
        np.savez(path, x=np.sin(phase).astype(np.float32), label=np.arange(40) % 3)
    return path


@pytest.mark.parametrize(("kind", "cell"), [("text", "lstm"), ("series", "rnn")])
def test_other_kinds_of_sequences_are_learned_and_drawn(kind, cell, tmp_path):
    config = dataclasses.replace(
        SMALL,
        dataset=str(path_of(kind, tmp_path)),
        cell=cell,
        max_length=30,
        free_bits=0.1,
        annealing="cyclical",
        samples=2,
        bidirectional=False,
    )
    experiment = sequence_vae.build(config)
    learner, rows = experiment.phases[1].learner, np.arange(16)
    batch = {name: jnp.asarray(field[rows]) for name, field in experiment.data.train.fields.items()}
    step, state, found = jax.jit(learner.step), jax.jit(learner.init)(jax.random.key(0)), []
    for _ in range(40):
        state, metrics = step(state, batch | {"index": jnp.asarray(rows)})
        found.append(float(metrics["reconstruction"]))
    assert found[-1] < 0.9 * found[0]
    drawn = experiment.functions["sample"](state.params, jax.random.key(1), 2, 5)
    assert drawn.shape == ((2, 5) if kind == "text" else (2, 5, 2))
    assert set(experiment.figures(state, experiment.data, jax.random.key(0), {})) == FIGURES


def test_verdicts():
    experiment = chords()

    def metrics(active, kl):
        return {"sequence_vae/active_units": {"per_seed": [active]}, "sequence_vae/kl": {"per_seed": [kl]}}

    assert experiment.health(metrics(4.0, 3.0)) == "ok"
    assert experiment.health(metrics(0.0, 3.0)) == "collapsed"
    assert experiment.health(metrics(4.0, 0.01)) == "collapsed"
