"""One latent vector tells what a whole sequence is about, so that its steps cost less (Bowman et al. 2016).

Data: chords (made up, of known entropy), jsb_chorales, nottingham, piano_midi, muse_data, sentences, tiny_shakespeare,
    japanese_vowels and other sets of series, or a path to a .txt, .ts or .npz of sequences
Time: 4 minutes a seed on chords, as long on jsb_chorales with the settings of Run (1 CPU core)
Run: python -m experiments.sequence_vae --dataset jsb_chorales --hidden-size 200 --encoder-size 64 --latent-size 16
    --dropout .5 --input-dropout .2 --frame-dropout .1 --batch-size 16 --steps 500 --chapter-steps 50
Expected: on chords less than half the nats a frame of the same decoder without latents, since the vector tells when the
    chord moves; on JSB Chorales, where little of a piece is decided beforehand, about as many.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import annealing, bounds, train
from seqjax.data.load import load
from seqjax.data.sequences import sequences
from seqjax.data.synthetic import chord_walk, chord_walk_cost, fresh_batch_at
from seqjax.errors import require
from seqjax.evaluate import sequence_likelihood
from seqjax.evaluate.per_example import per_example
from seqjax.evaluate.posterior import posterior_health
from seqjax.experiment import main
from seqjax.galleries.latent_sequences import sequence_figures
from seqjax.models import sequence_latents
from seqjax.models.sequence import CellName, cell_function
from seqjax.models.sequence_vae import Decoder, SequenceVAE, StepLikelihood, shifted, with_readout_bias
from seqjax.types import Experiment, Phase

CHUNK = 64  # sequences that are evaluated together


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "chords"
    """Name of a data set of sequences or of a text, or path to a file; chords are made anew for every step."""
    max_length: int = 200
    """Longer sequences are cut into equal parts, each with a latent vector of its own."""
    cell: CellName = "gru"
    """The recurrence of encoder and decoder: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 128
    """Units of a layer of the decoder."""
    encoder_size: int = 128
    """Units of a layer of the encoder, in each direction."""
    num_layers: int = 1
    """Layers of each."""
    bidirectional: bool = True
    """The encoder reads the sequence in both directions."""
    latent_size: int = 32
    """Units of the latent vector."""
    dropout: float = 0.0
    """Rate at which outputs of the decoder's layers are dropped in training."""
    input_dropout: float = 0.0
    """Rate at which values of the steps that the decoder reads are dropped in training."""
    frame_dropout: float = 0.3
    """Rate at which whole steps that it reads are blanked in training (word dropout); not without latents."""
    beta: float = 1.0
    """Weight of the KL divergence in training; all that is measured has weight 1."""
    annealing: Literal["none", "linear", "cyclical"] = "linear"
    """How the weight of the KL divergence rises from 0 in training."""
    rising: float = 0.25
    """Share of the run, or of each of four cycles, over which it rises."""
    free_bits: float = 0.0
    """Nats that each latent unit costs at least in training."""
    samples: int = 1
    """Draws of the latents of each sequence whose bounds are averaged."""
    learning_rate: float = 4e-3
    """Peak learning rate of Adam, down to zero by half a cosine."""
    clip_norm: float = 1.0
    """Clip gradients to this global norm."""
    ema_decay: float = 0.99
    """A moving average of the parameters with this decay is validated and evaluated."""
    steps: int = 2000
    """Training steps, of the model with latents and before it of the one without."""
    batch_size: int = 32
    """Sequences in a step, over all devices."""
    chapter_steps: int = 100
    """Steps between validations; the parameters with the best one are evaluated."""
    importance_samples: int = 500
    """Draws for the log-likelihood of each test sequence."""


SMOKE = {
    "dataset": "chords",
    "hidden_size": 32,
    "encoder_size": 24,
    "latent_size": 8,
    "learning_rate": 1e-2,
    "ema_decay": 0.9,
    "steps": 100,
    "chapter_steps": 50,
    "importance_samples": 10,
}


def build(config: Config) -> Experiment:
    from scipy.special import logit

    for name in ("samples", "importance_samples"):
        require(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
    require(config.beta >= 0, "beta", config.beta, "a weight of 0 or more")
    require(config.free_bits >= 0, "free_bits", config.free_bits, "nats, 0 or more")
    found = sequences(load(config.dataset), max_length=config.max_length)
    data = found.data
    mean_length = float(np.mean(data.train.fields["length"]))
    steps = StepLikelihood(found.likelihood, found.num_values)
    cell, layers = cell_function(config.cell), config.num_layers
    rates = {"dropout": config.dropout, "input_dropout": config.input_dropout}
    model = SequenceVAE(
        cell,
        steps,
        config.hidden_size,
        config.encoder_size,
        config.latent_size,
        layers,
        config.bidirectional,
        **rates,
        frame_dropout=config.frame_dropout,
    )
    plain = Decoder(cell, config.hidden_size, steps.output_size, layers, **rates)

    match found.likelihood:
        case "bernoulli":
            bias = logit(sequence_likelihood.marginal_rates(found, data.train))
        case "categorical":
            bias = np.log(sequence_likelihood.marginal_rates(found, data.train))
        case "gaussian":
            bias = np.zeros(steps.output_size)
    bias = jnp.asarray(bias, jnp.float32)

    @jax.jit
    def initial(key):
        x, length = jnp.asarray(data.train.fields["x"][:1, :1]), jnp.ones(1, jnp.int32)
        params = model.init(key, x, length, jnp.zeros((1, 1, config.latent_size)))
        return with_readout_bias(params, bias, path=("params", "decoder"))

    @jax.jit
    def initial_plain(key):
        params = plain.init(key, steps.seen(jnp.asarray(data.train.fields["x"][:1, :1])))
        return with_readout_bias(params, bias, path=("params",))

    sampler = functools.partial(sequence_latents.posterior_draws, model)
    numbers = jnp.arange(config.samples)

    def beta(step):
        match config.annealing:
            case "linear":
                return config.beta * annealing.linear(step, rising_steps=round(config.rising * config.steps))
            case "cyclical":
                return config.beta * annealing.cyclical(step, steps=config.steps, rising=config.rising)
        return config.beta

    def loss(params, batch, key, state):
        draws_key, dropout_key = jax.random.split(key)
        draws = sampler(params, batch, draws_key, numbers, dropout_key=dropout_key)
        log_likelihood, kl = draws.log_likelihood.mean(axis=1), draws.kl_of_units.sum(axis=1)
        charged = bounds.free_bits(draws.kl_of_units, nats=config.free_bits) if config.free_bits else kl
        bound = bounds.evidence_lower_bound(log_likelihood, charged, beta=beta(state.step))
        # over a constant, so that each step counts the same, in whatever sequence
        return -bound / mean_length, train.Aux({"reconstruction": -log_likelihood, "kl": kl})

    def plain_nats(params, batch, **noise):
        _, outputs = plain.apply(params, shifted(steps.seen(batch["x"])), lengths=batch["length"], **noise)
        return steps.negative_log_likelihood(outputs, batch["x"], batch["length"])

    def plain_loss(params, batch, key, state):
        return plain_nats(params, batch, key=key, index=batch["index"]) / mean_length, train.Aux({})

    def minimised(loss, initial, **options):
        schedule = train.schedule("cosine", config.learning_rate, steps=config.steps)
        optimizer = train.optimizer("adam", schedule, clip_norm=config.clip_norm)
        return train.minimise(loss, initial, optimizer, ema_decay=config.ema_decay, **options)

    # made once for all seeds, and replaced as the second phase begins
    some = initial_plain(jax.random.key(0))
    learner = minimised(loss, initial, extra=lambda params: {"plain": some})

    def enter(previous, split, key):
        """The model with latents from its beginning, beside the trained one without."""
        start = learner.init(key)
        return start._replace(extra=start.extra | {"plain": train.averaged(previous).params})

    sizes = (config.steps, config.batch_size, config.chapter_steps)
    fresh = config.dataset == "chords" and config.max_length >= data.train.fields["x"].shape[1]
    options = {"keep_best": True, "batch_at": fresh_batch_at(chord_walk) if fresh else None}
    phases = (
        Phase("without latents", minimised(plain_loss, initial_plain), *sizes, **options),
        Phase("train", learner, *sizes, enter=enter, **options),
    )

    def plain_costs(params, split):
        return per_example(functools.partial(plain_nats, params), split, chunk=CHUNK)

    def validate(state, split, key):
        def nats(batch):
            draws = sampler(state.params, batch, key, numbers)
            return -bounds.evidence_lower_bound(draws.log_likelihood.mean(axis=1), draws.kl_of_units.sum(axis=1))

        with_latents = "plain" in state.extra
        costs = per_example(nats, split, chunk=CHUNK) if with_latents else plain_costs(state.params, split)
        return costs.sum() / split.fields["length"].sum()

    @functools.cache
    def baselines():
        lengths = data.test.fields["length"]
        rows = {"marginal": sequence_likelihood.marginal_nats(found, data.train, data.test)}
        if config.dataset == "chords":
            rows["source"] = chord_walk_cost(lengths)
        return {f"{row}/nats_a_step": sequence_likelihood.nats_a_step(nats, lengths) for row, nats in rows.items()}

    plain_test_costs = jax.jit(plain_costs)

    def evaluate(state, data, key):
        own = sequence_likelihood.sequence_measures(
            "sequence_vae", sampler, state.params, data.test, key, num_samples=config.importance_samples
        )
        nats = np.asarray(plain_test_costs(state.extra["plain"], data.test), np.float64)
        cost = sequence_likelihood.nats_a_step(nats, data.test.fields["length"])
        return own | {"recurrent/nats_a_step": cost} | baselines()

    def figures(state, data, key, metrics):
        return sequence_figures("sequence VAE", found, model, state.params, key)

    return Experiment(
        data,
        phases,
        validate,
        evaluate,
        figures,
        sequence_latents.functions(model),
        posterior_health("sequence_vae"),
    )


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
