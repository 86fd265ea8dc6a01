"""The next frame of a piano roll from all before: gated cells predict chorales better than plain ones.

Data: jsb_chorales, nottingham, piano_midi, muse_data (Boulanger-Lewandowski et al. 2012), or chords (made up)
Time: half a minute a seed on jsb_chorales, 4 minutes on nottingham (2 CPU cores)
Run: python -m experiments.music --dataset jsb_chorales --cell lstm --hidden-size 225
Expected: on JSB Chorales within .15 nats a frame of the published 8.91 (rnn), 8.43 (gru), 8.45 (lstm), against 10.49 of
    a Markov chain for each key.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import losses, train
from seqjax.data.load import load
from seqjax.data.music import NUM_KEYS, cut, pieces_of
from seqjax.errors import DataError, require
from seqjax.evaluate import piano_roll
from seqjax.evaluate.gradient_flow import flow_curves, flow_measures, model_flow
from seqjax.evaluate.per_example import per_example
from seqjax.experiment import main
from seqjax.models.sequence import CellName, SequenceModel, cell_function
from seqjax.plots import gradient_flow, rolls
from seqjax.types import Experiment, Phase

CHUNK = 64  # pieces that are evaluated together: the longest has thousands of frames
LOOKED_AT = 64  # test pieces whose gradients and gates are looked at
MOST_LAGS = 100


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "jsb_chorales"
    """jsb_chorales, nottingham, piano_midi, muse_data, or chords, which is made up."""
    cell: CellName = "gru"
    """The recurrence: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 260
    """Units of a layer."""
    num_layers: int = 1
    """Layers."""
    dropout: float = 0.5
    """Rate at which outputs of each layer are dropped in training."""
    input_dropout: float = 0.2
    """Rate at which keys of the frames that are read are dropped in training."""
    forget_bias: float = 0.0
    """What the LSTM's forget gates start from."""
    max_length: int = 200
    """Training pieces are cut into parts of at most so many frames; those of validation and test stay whole."""
    learning_rate: float = 5e-3
    """Peak learning rate of AdamW, down to zero by half a cosine."""
    weight_decay: float = 0.0
    """Decoupled decay of the weights (AdamW)."""
    ema_decay: float = 0.99
    """A moving average of the parameters with this decay is validated and evaluated."""
    clip_norm: float = 1.0
    """Clip gradients to this global norm."""
    steps: int = 800
    """Training steps at most."""
    batch_size: int = 16
    """Pieces in a step, over all devices."""
    chapter_steps: int = 50
    """Steps between validations."""
    patience: int = 4
    """Chapters without a better validation after which a seed stops; the best parameters are evaluated."""


SMOKE = {
    "dataset": "chords",
    "hidden_size": 48,
    "learning_rate": 1e-2,
    "steps": 120,
    "chapter_steps": 40,
    "ema_decay": 0.9,
}


def build(config: Config) -> Experiment:
    from scipy.special import logit

    require(config.hidden_size >= 1, "hidden_size", config.hidden_size, "at least 1")
    require(config.num_layers >= 1, "num_layers", config.num_layers, "at least 1")
    for name in ("dropout", "input_dropout"):
        require(0 <= getattr(config, name) < 1, name, getattr(config, name), "a rate from 0 to below 1")
    whole = load(config.dataset)
    if "length" not in whole.train.fields or whole.train.fields["x"].shape[2:] != (NUM_KEYS,):
        raise DataError(f"{whole.name} holds no piano rolls; expected `x` [N T {NUM_KEYS}] and `length` [N].")
    data = whole._replace(train=cut(whole.train, config.max_length))
    train_pieces, test_pieces = (pieces_of(s.fields["x"], s.fields["length"]) for s in (whole.train, whole.test))
    mean_length = float(data.train.fields["length"].mean())
    bias = logit(piano_roll.marginal(train_pieces)(train_pieces[0][:1])[0])

    def model_of(cell):
        function = cell_function(cell, forget_bias=config.forget_bias)
        return SequenceModel(
            function, config.hidden_size, NUM_KEYS, config.num_layers, config.dropout, config.input_dropout
        )

    model = model_of(config.cell)

    def initial_of(model, key):
        # from the rates of the keys on, so that the first steps are not spent on learning that most keys are silent
        params = model.init(key, jnp.zeros((1, 1, NUM_KEYS)))["params"]
        return {"params": params | {"readout": params["readout"] | {"bias": jnp.asarray(bias, jnp.float32)}}}

    initial = jax.jit(functools.partial(initial_of, model))

    def logits(params, x, lengths, *, key=None, index=None):
        """Of frame t from the frames before it; of the first from silence."""
        return model.apply(params, before(x), lengths=lengths, key=key, index=index)

    def loss(params, batch, key, state):
        x, lengths = batch["x"], batch["length"]
        outputs = logits(params, x, lengths, key=key, index=batch["index"])
        nats = losses.bernoulli_cross_entropy(outputs, x.astype(outputs.dtype), mask=valid(x, lengths))
        # over a constant, so that each frame counts the same, in whatever piece
        return nats / mean_length, train.Aux({})

    learner = train.minimise(
        loss,
        initial,
        train.optimizer(
            "adamw",
            train.schedule("cosine", config.learning_rate, steps=config.steps),
            weight_decay=config.weight_decay,
            clip_norm=config.clip_norm,
        ),
        ema_decay=config.ema_decay,
    )
    phase = Phase(
        "train",
        learner,
        config.steps,
        config.batch_size,
        config.chapter_steps,
        patience=config.patience,
        keep_best=True,
    )

    @jax.jit
    def costs(params, split):
        """Nats of each piece's first frame, and of all after it."""

        def of_batch(batch):
            x, frames = batch["x"], valid(batch["x"], batch["length"])
            outputs = logits(params, x, batch["length"])
            cost = functools.partial(losses.bernoulli_cross_entropy, outputs, x.astype(outputs.dtype))
            return cost(mask=frames.at[:, 1:].set(False)), cost(mask=frames.at[:, 0].set(False))

        return per_example(of_batch, split, chunk=CHUNK)

    def validate(state, split, key):
        return costs(state.params, split)[1].sum() / (split.fields["length"] - 1).sum()

    @functools.partial(jax.jit, static_argnames="cell")
    def flow(params, x, cell):
        """Norm of the gradient of the last frame's cost to the state at each lag, and saturation, of `cell`."""

        def last_cost(outputs):
            return losses.bernoulli_cross_entropy(outputs, x[:, -1].astype(outputs.dtype))

        return model_flow(model_of(cell), params, before(x), last_cost)

    def looked_at(data):
        num_frames = min(MOST_LAGS, int(data.test.fields["length"].min()))
        return data.test.fields["x"][:LOOKED_AT, :num_frames]

    num_frames = sum(map(len, test_pieces))
    fits = {"marginal": piano_roll.marginal, "markov": piano_roll.markov}

    @functools.cache
    def baselines():
        found = {row: piano_roll.frame_costs(fit(train_pieces), test_pieces) for row, fit in fits.items()}
        return {k: v for row, cost in found.items() for k, v in piano_roll.measures(row, *cost, num_frames).items()}

    def evaluate(state, data, key):
        first, later = (np.asarray(cost, np.float64) for cost in costs(state.params, data.test))
        own = piano_roll.measures(config.cell, first.tolist(), later.tolist(), num_frames)
        return own | baselines() | flow_measures(config.cell, *flow(state.params, looked_at(data), config.cell))

    def figures(state, data, key, metrics):
        x = looked_at(data)
        curves = flow_curves(
            lambda p, cell: flow(p, x, cell), config.cell, state.params, lambda cell: initial_of(model_of(cell), key)
        )
        piece = test_pieces[0]
        outputs = logits(state.params, piece[None], jnp.asarray([len(piece)]))[0]
        return {
            "gradient_flow": gradient_flow(curves, of="last cost"),
            "predictions": rolls(
                {
                    "what sounds": piece.astype(np.float64),
                    f"{config.cell}, from the frames before": np.asarray(jax.nn.sigmoid(outputs)),
                    "markov": piano_roll.markov(train_pieces)(piece),
                },
                row="key",
            ),
        }

    return Experiment(data, (phase,), validate, evaluate, figures, {"logits": logits})


def before(x):
    """The frame before each frame, silence before the first, as float32."""
    return jnp.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0))).astype(jnp.float32)


def valid(x, lengths):
    return jnp.arange(x.shape[1])[None, :] < lengths[:, None]


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
