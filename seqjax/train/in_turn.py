"""Several learners one after another in one run: what each has learned is kept while the next one learns."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from seqjax.errors import require
from seqjax.train.learner import averaged
from seqjax.types import Key, Learner, Params, Split, TrainState


class Turn(NamedTuple):
    """A learner's turn, and how it comes after the one before: the `learner` and `enter` of a `Phase`."""

    learner: Learner
    enter: Callable[[TrainState, Split, Key], TrainState] | None


def in_turn(learners: Mapping[str, Learner]) -> dict[str, Turn]:
    """A turn for each learner, in the order given; `learned_by` finds what each of them has learned.

    In its turn a learner trains as it does alone: from its own beginning, with the key of the first turn, so that all
    see the same batches. The parameters of the others wait in `state.extra["others"]`: those of learners that have had
    their turn as they left it (averaged, where they keep an average), those of the rest as their `init` makes them.
    """
    require(len(learners) >= 1, "learners", list(learners), "at least one")

    def init(name: str, key: Key) -> TrainState:
        states = {other: learner.init(jax.random.clone(key)) for other, learner in learners.items()}
        others = {other: state.params for other, state in states.items() if other != name}
        return states[name]._replace(extra=states[name].extra | {"others": others})

    def turn(name: str, before: str | None) -> Turn:
        begin = jax.jit(lambda key: init(name, key))

        def enter(previous: TrainState, split: Split, key: Key) -> TrainState:
            start = begin(key)
            past = previous.extra["others"] | {before: averaged(previous).params}
            others = {other: past[other] for other in start.extra["others"]}
            return start._replace(key=previous.key, extra=start.extra | {"others": others})

        learner = Learner(lambda key: init(name, key), learners[name].step)
        return Turn(learner, None if before is None else enter)

    befores = [None, *learners]
    return {name: turn(name, before) for name, before in zip(learners, befores, strict=False)}


def learned_by(state: TrainState, name: str) -> Params:
    """The parameters of one of the learners that were given to `in_turn`, in whichever turn `state` is."""
    return state.extra["others"].get(name, state.params)
