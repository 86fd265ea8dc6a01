"""Made-up English sentences whose entropy is known exactly: the floor of what any model of their characters can reach.

A source goes from state to state, and at each step writes one of its state's phrases. No phrase of a state begins
another one, so the text tells which way the source went, and its entropy is that of the choices (Shannon 1948,
theorem 7).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Branch(NamedTuple):
    """One of a state's ways on: how likely it is, what it writes, and where it leads."""

    probability: float
    phrase: str
    state: str


Source = Mapping[str, tuple[Branch, ...]]

NOUNS = (("fox", "foxes"), ("king", "kings"), ("miller", "millers"), ("child", "children"), ("goose", "geese"))
VERBS = (("sees", "see"), ("knows", "know"), ("follows", "follow"), ("is", "are"))
ADJECTIVES = ("old", "quiet", "far too clever")
PLACES = ("near", "behind", "not unlike")


def sentences() -> Source:
    """Subject, verb and object; the verb agrees with the subject across whatever stands between them.

    The place of the subject names another noun, singular or plural, so who looks at the last words alone is misled.
    """

    def even(ways: list[tuple[str, str]], total: float = 1.0) -> tuple[Branch, ...]:
        return tuple(Branch(total / len(ways), phrase, state) for phrase, state in ways)

    source: dict[str, tuple[Branch, ...]] = {
        "subject": even([(f"the {noun[number]} ", f"verb_{number}") for noun in NOUNS for number in (0, 1)])
    }
    for number in (0, 1):
        verbs = even([(f"{verb[number]} ", "object" if verb[0] != "is" else "adjective") for verb in VERBS], 0.5)
        source[f"verb_{number}"] = verbs + even([(f"{place} ", f"place_{number}") for place in PLACES], 0.5)
        source[f"place_{number}"] = even([(f"the {n} ", f"late_{number}") for noun in NOUNS for n in noun])
        source[f"late_{number}"] = tuple(branch._replace(probability=2 * branch.probability) for branch in verbs)
    source["adjective"] = even([(f"{adjective}.\n", "subject") for adjective in ADJECTIVES])
    source["object"] = even([(f"the {n}.\n", "subject") for noun in NOUNS for n in noun])
    return source


def nats_a_character(source: Source) -> float:
    """Entropy rate: nats a choice over characters a choice, both averaged over the states as often as they come."""
    states = list(source)
    moves = np.zeros((len(states), len(states)))
    for row, state in enumerate(states):
        for branch in source[state]:
            moves[row, states.index(branch.state)] += branch.probability
    # how often each state comes: unchanged by a move, and in all 1
    system = np.vstack([moves.T - np.eye(len(states)), np.ones(len(states))])
    often = np.linalg.lstsq(system, np.append(np.zeros(len(states)), 1.0))[0]
    nats = [-sum(b.probability * np.log(b.probability) for b in source[state]) for state in states]
    characters = [sum(b.probability * len(b.phrase) for b in source[state]) for state in states]
    return float(often @ nats / (often @ characters))


def written(source: Source, num_characters: int, *, seed: int = 0) -> str:
    """A text of that length, from the source's first state on; the same in every run and on every machine."""
    # a legacy generator because it is frozen for good
    uniform = np.random.RandomState(seed).random_sample
    ends = {state: np.cumsum([b.probability for b in branches]) for state, branches in source.items()}
    phrases, length, state = [], 0, next(iter(source))
    while length < num_characters:
        choice = min(int(np.searchsorted(ends[state], uniform(), side="right")), len(ends[state]) - 1)
        _, phrase, state = source[state][choice]
        phrases.append(phrase)
        length += len(phrase)
    return "".join(phrases)[:num_characters]


def nats_of_characters(source: Source, text: str) -> Float[np.ndarray, "_"]:
    """What each character of a text `written` by this source costs the one who knows it: the floor of any model.

    Raises ValueError for a text that it did not write.
    """
    nats, state = np.zeros(len(text)), next(iter(source))
    alive, read, likely = source[state], 0, 1.0
    for place, character in enumerate(text):
        alive = [b for b in alive if b.phrase[read] == character]
        if not alive:
            raise ValueError(f"character {place} is {character!r}, which no sentence has there")
        read, before, likely = read + 1, likely, sum(b.probability for b in alive)
        nats[place] = np.log(before / likely)
        if len(alive[0].phrase) == read:
            alive, read, likely = source[alive[0].state], 0, 1.0
    return nats
