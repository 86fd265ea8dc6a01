"""Axis letters, array aliases, and the interfaces: NamedTuples of pure functions, or of arrays.

The legend of axes, everywhere in the project:

    B batch    T time       D features    H hidden                 Z latent
    S seeds    N examples   V vocabulary  K samples or clusters
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray, PyTree

Key = PRNGKeyArray
Params = PyTree[Array]
Batch = dict[str, Array]  # every field has the batch axis first; `index` holds each example's global row


class Split(NamedTuple):
    """One split of a data set: named fields with the example axis first.

    `x` is always there. `label`, `length` (valid time steps) and `mask` (observed values) where the data have them.
    Fields of dtype uint8 are intensities: a batch holds them as float32 in [0, 1].

    Examples:
        >>> import numpy as np
        >>> from seqjax import Split
        >>> Split({"x": np.zeros((5, 2)), "label": np.arange(5)}).num_examples
        5
    """

    fields: dict[str, Array]

    @property
    def num_examples(self) -> int:
        return self.fields["x"].shape[0]


class Dataset(NamedTuple):
    """Training, validation and test split, kept apart; the name and the SHA-256 of the content they come from."""

    name: str
    train: Split
    validation: Split
    test: Split
    sha256: str


class TrainState(NamedTuple):
    """What one training step continues from: arrays only.

    `extra` holds what a method needs beside, by name: `ema`, `batch_stats`, `targets`, `hyper`, `skipped`.
    Every device holds the same. A `carry`, which belongs to the examples of a batch, runs on one device so far.
    """

    params: Params
    opt_state: PyTree[Array]
    step: Int[Array, ""]
    key: Key
    extra: dict[str, PyTree[Array]]


Metrics = dict[str, Array]


class Learner(NamedTuple):
    """`init(key) -> state`; `step(state, batch, *, axis_name=None, shards=None, guarded=True) -> (state, metrics)`, a
    scan body.

    With `axis_name` the batch is this device's share and the step averages over that axis; `None` means global arrays.
    With `shards` it computes so many parts of its batch apart and adds up those of all devices in a fixed order, so
    that the bits do not depend on the number of devices. Unless it is `guarded` it also makes an update that is not
    finite.
    """

    init: Callable[[Key], TrainState]
    step: Callable[..., tuple[TrainState, Metrics]]


class Phase(NamedTuple):
    """A stretch of training by one learner.

    enter: `(previous state, training split, key) -> state`, on the host, once, before the first step; its result is
        saved before the phase starts. `None`: the first phase starts from `learner.init`, a later one goes on as it is.
    refresh: `(state, training split) -> state`, every `refresh_every` steps, at a chapter boundary.
    finished: `state -> bool`, on the host, asked after each `refresh`; a seed of which it is true stops there.
    patience: chapters without a better validation score after which a seed stops; `None` for no early stopping.
    keep_best: evaluate the parameters with the best validation score instead of the last.
    batch_at: `(split, key, step, *, batch_size, shard, num_shards) -> batch`, pure; `None` for the split's rows in an
        order of their own each epoch. Others make fresh examples from the key, or walk along streams.
    """

    name: str
    learner: Learner
    steps: int
    batch_size: int
    chapter_steps: int
    patience: int | None = None
    keep_best: bool = False
    enter: Callable[[TrainState, Split, Key], TrainState] | None = None
    refresh: Callable[[TrainState, Split], TrainState] | None = None
    refresh_every: int | None = None
    finished: Callable[[TrainState], bool] | None = None
    batch_at: Callable[..., Batch] | None = None


class Experiment(NamedTuple):
    """A model with its data and its evaluation.

    validate: `(state, split, key) -> score`, jittable, lower is better; run at every chapter boundary.
    evaluate: `(state, data, key) -> {"row/measure": value}`, on the host, once for each seed at the end.
    figures: `(state, data, key, metrics) -> {name: figure}`, from the first seed.
    functions: what `seqjax.load` hands to an importer, by name, each `(params, ...) -> ...`.
    health: a verdict from the summarised metrics, "ok" or what went wrong.
    instruments: `() -> {name: SHA-256}` of what `evaluate` measures with that is neither data nor code, such as a
        trained network; asked for after it.
    """

    data: Dataset
    phases: tuple[Phase, ...]
    validate: Callable[[TrainState, Split, Key], Float[Array, ""]]
    evaluate: Callable[[TrainState, Dataset, Key], dict[str, float]]
    figures: Callable[..., dict[str, Any]] | None = None
    functions: dict[str, Callable[..., Any]] = {}  # noqa: RUF012 - never mutated
    health: Callable[[dict[str, Any]], str] | None = None
    instruments: Callable[[], dict[str, str]] | None = None


class Cell(NamedTuple):
    """A recurrence; only `step` is needed by all that runs one, the others may be `None`.

    init: `(key, input_size) -> params`.
    initial_carry: `(params, batch_size) -> carry`.
    step: `(params, carry, x [B D]) -> (carry, y [B H])`, a scan body once `params` are bound.
    sweep: the whole sequence by a hand-written rule with the values of `step` scanned, or `None` where there is none.
    gates: `(params, carry, x) -> {name: recurrent.Gate}`, the squashed values inside the step and their slopes, for
        diagnosis, or `None`.
    """

    init: Callable[..., Params] | None
    initial_carry: Callable[..., PyTree[Array]] | None
    step: Callable[..., tuple[PyTree[Array], Array]]
    sweep: Callable[..., Any] | None = None
    gates: Callable[..., dict[str, Any]] | None = None
