"""The next character of a text from all before: a recurrence learns it by truncated back-propagation through time.

Data: sentences (made up, of known entropy), tiny_shakespeare, or a path to a .txt of one's own
Time: 20 s a seed on sentences, 3 minutes with the settings of Run (2 CPU cores)
Run: python -m experiments.character_model --dataset tiny_shakespeare --cell gru --hidden-size 288 --batch-size 16
    --steps 4900 --chapter-steps 490 --learning-rate 4e-3
Expected: on tiny Shakespeare at most 1.70 nats a character, about as much as the best n-gram; on sentences close to
    their entropy, which no n-gram comes near.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import losses, train
from seqjax.data.load import load
from seqjax.data.sentences import nats_of_characters, sentences
from seqjax.data.streams import steps_an_epoch, stream_batch_at, warmed_streams
from seqjax.data.text import code_points, decode, encode, vocabulary
from seqjax.errors import DataError, require
from seqjax.evaluate import characters
from seqjax.evaluate.gradient_flow import flow_curves, flow_measures, model_flow
from seqjax.evaluate.streams import per_piece
from seqjax.experiment import main
from seqjax.models.sampling import continuations
from seqjax.models.sequence import CellName, SequenceModel, cell_function, stacked
from seqjax.plots import gradient_flow, pages
from seqjax.recurrent import output_head
from seqjax.recurrent.steps import select
from seqjax.types import Experiment, Phase, Split

STREAMS = 32  # that read validation and test text side by side
WARM_UP = 256  # characters that each of them reads before its own
PIECE = 128  # characters at a time
MOST_LAGS = 100
SHOWN = 1000  # characters of a figure


@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = "sentences"
    """sentences, which is made up, tiny_shakespeare, or the path of a .txt file."""
    cell: CellName = "lstm"
    """The recurrence: Elman's with tanh, GRU or LSTM."""
    hidden_size: int = 128
    """Units of a layer."""
    num_layers: int = 1
    """Layers."""
    dropout: float = 0.0
    """Rate at which outputs of each layer are dropped in training."""
    length: int = 64
    """Characters that each stream reads in a step, and through which gradients are carried back."""
    learning_rate: float = 5e-3
    """Peak learning rate of Adam, down to zero by half a cosine."""
    ema_decay: float = 0.99
    """A moving average of the parameters with this decay is validated and evaluated."""
    clip_norm: float = 1.0
    """Clip gradients to this global norm."""
    steps: int = 1000
    """Training steps."""
    batch_size: int = 32
    """Streams that are read side by side."""
    chapter_steps: int = 100
    """Steps between validations; the parameters with the best one are evaluated."""


SMOKE = {
    "dataset": "sentences",
    "hidden_size": 48,
    "batch_size": 16,
    "length": 32,
    "learning_rate": 1e-2,
    "steps": 200,
    "chapter_steps": 50,
    "ema_decay": 0.9,
}


def build(config: Config) -> Experiment:
    require(config.hidden_size >= 1, "hidden_size", config.hidden_size, "at least 1")
    require(config.num_layers >= 1, "num_layers", config.num_layers, "at least 1")
    require(0 <= config.dropout < 1, "dropout", config.dropout, "a rate from 0 to below 1")
    whole = load(config.dataset)
    codes = [split.fields["x"] for split in whole[1:4]]
    if codes[0].ndim != 1:
        raise DataError(f"{whole.name} holds no text; expected `x` [N] of characters, as a .txt file gives.")
    known = vocabulary(codes[0])
    num_symbols = len(known) + 1
    texts = [encode(c, known) for c in codes]
    row, ends = np.concatenate(texts), np.cumsum([len(text) for text in texts]).tolist()
    held_out = [
        Split(warmed_streams(row, start, stop, num_streams=STREAMS, warm_up=WARM_UP))
        for start, stop in itertools.pairwise(ends)
    ]
    data = whole._replace(train=Split({"x": texts[0]}), validation=held_out[0], test=held_out[1])
    batch_at = stream_batch_at(config.length)
    epoch_steps = steps_an_epoch(len(texts[0]), batch_size=config.batch_size, length=config.length)
    mean_length = len(texts[0]) / (epoch_steps * config.batch_size)

    def model_of(cell):
        return SequenceModel(
            cell_function(cell), config.hidden_size, num_symbols, config.num_layers, dropout=config.dropout
        )

    own, model = stacked(cell_function(config.cell)(config.hidden_size), config.num_layers), model_of(config.cell)

    def one_hot(x):
        return jax.nn.one_hot(x, num_symbols)

    @functools.partial(jax.jit, static_argnames="cell")
    def initial(key, cell=config.cell):
        return model_of(cell).init(key, one_hot(jnp.zeros((1, 1), jnp.int32)))

    def carry_of(params, count):
        """The state before anything was read, `[layer][direction]`."""
        return tuple((carry,) for carry in own.initial_carry(params["params"]["recurrence"], count))

    def read(params, carry, x, **noise):
        return model.apply(params, one_hot(x), initial_carry=carry, return_carry=True, **noise)

    def loss(params, batch, key, state):
        carry = select(batch["begins"], carry_of(params, len(batch["x"])), state.extra["carry"])
        carry, outputs = read(params, carry, batch["x"], key=key, index=batch["index"])
        nats = losses.categorical_cross_entropy(outputs, batch["target"], mask=batch["mask"])
        # over a constant, so that each character counts the same, in whatever step
        return nats / mean_length, train.Aux({}, {"carry": carry})

    learner = train.minimise(
        loss,
        initial,
        train.optimizer(
            "adam", train.schedule("cosine", config.learning_rate, steps=config.steps), clip_norm=config.clip_norm
        ),
        ema_decay=config.ema_decay,
        extra=lambda params: {"carry": carry_of(params, config.batch_size)},
    )
    phase = Phase(
        "train", learner, config.steps, config.batch_size, config.chapter_steps, keep_best=True, batch_at=batch_at
    )

    @jax.jit
    def costs(params, split):
        """Nats of the characters of each piece of each stream."""

        def of_piece(carry, batch):
            carry, outputs = read(params, carry, batch["x"])
            return carry, losses.categorical_cross_entropy(outputs, batch["target"], mask=batch["mask"])

        return per_piece(of_piece, carry_of(params, split.num_examples), split, piece=PIECE)

    def validate(state, split, key):
        return costs(state.params, split).sum() / split.fields["mask"].sum()

    @functools.cache
    def baselines():
        found = {"unigram": characters.unigram(texts[0], texts[2], num_symbols=num_symbols).mean()}
        ngram = characters.best_ngram(*texts, num_symbols=num_symbols)
        found["ngram"] = ngram.test.mean()
        before, text = decode(texts[0], known), decode(texts[2], known)
        found |= {method: characters.compressed(method, before, text) for method in ("bz2", "lzma")}
        if config.dataset == "sentences":
            found["source"] = nats_of_characters(sentences(), decode(row, known))[ends[1] :].mean()
        return {k: v for name, nats in found.items() for k, v in characters.measures(name, float(nats)).items()}

    @functools.partial(jax.jit, static_argnames="cell")
    def flow(params, x, target, cell):
        """Norm of the gradient of the last character's cost to the state at each lag, and saturation, of `cell`."""

        def last_cost(outputs):
            return losses.categorical_cross_entropy(outputs, target[:, -1])

        return model_flow(model_of(cell), params, one_hot(x), last_cost)

    def looked_at(data):
        return [data.test.fields[name][:, :MOST_LAGS] for name in ("x", "target")]

    def evaluate(state, data, key):
        nats = np.asarray(costs(state.params, data.test), np.float64).sum() / data.test.fields["mask"].sum()
        flows = flow_measures(config.cell, *flow(state.params, *looked_at(data), config.cell))
        return characters.measures(config.cell, float(nats)) | baselines() | flows

    @functools.partial(jax.jit, static_argnames="length")
    def continued(params, prompts, temperature, key, length):
        weights, readout = params["params"]["recurrence"], params["params"]["readout"]

        def step(carry, symbols):
            carry, h = own.step(weights, carry, one_hot(symbols))
            return carry, output_head(num_symbols).apply(readout, h)

        carry = own.initial_carry(weights, len(prompts))
        return continuations(step, carry, prompts, temperature, key, length=length)

    def sample(params, key, *, prompt="\n", length=500, temperature=1.0):
        """`length` characters that go on from the prompt, drawn from softmax(logits / temperature)."""
        require(len(prompt) >= 1, "prompt", repr(prompt), "at least one character")
        require(temperature >= 0, "temperature", temperature, "0 or more")
        prompts = jnp.asarray(encode(code_points(prompt), known))[None]
        return decode(np.asarray(continued(params, prompts, jnp.full(1, temperature), key, length))[0], known)

    def logits(params, x):
        """Of the character after each, `[B T V]`, from symbols `[B T]`."""
        return read(params, carry_of(params, x.shape[0]), x)[1]

    def figures(state, data, key, metrics):
        x, target = looked_at(data)
        curves = flow_curves(
            lambda p, cell: flow(p, x, target, cell), config.cell, state.params, lambda cell: initial(key, cell)
        )
        shown = {"the text": decode(texts[2][:SHOWN], known)}
        for number, temperature in enumerate((0.5, 1.0)):
            own_key = jax.random.fold_in(key, number)
            shown[f"{config.cell}, temperature {temperature}"] = sample(
                state.params, own_key, length=SHOWN, temperature=temperature
            )
        return {
            "gradient_flow": gradient_flow(curves, of="last cost"),
            "samples": pages(shown),
        }

    return Experiment(data, (phase,), validate, evaluate, figures, {"logits": logits, "sample": sample})


if __name__ == "__main__":
    main(Config, build, smoke=SMOKE)
