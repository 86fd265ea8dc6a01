"""Predictions of piano rolls that any model stands beside, and their cost a frame. On the host, in float64.

Each takes every key apart, with Laplace's rule of succession, (sounded + 1) / (frames + 2), for its rates.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

Piece = Bool[np.ndarray, "_ D"]  # pieces differ in length
Prediction = Callable[[Piece], Float[np.ndarray, "_ D"]]


def marginal(train: Sequence[Piece]) -> Prediction:
    """The share of frames in which a key sounds, whatever came before."""
    frames = np.concatenate(train)
    rates = (frames.sum(axis=0) + 1) / (len(frames) + 2)
    return lambda piece: np.broadcast_to(rates, piece.shape)


def markov(train: Sequence[Piece]) -> Prediction:
    """The share of frames in which a key sounds after one in which it did, or did not; before the first is silence."""
    before, after = np.concatenate([p[:-1] for p in train]), np.concatenate([p[1:] for p in train])
    off, on = (((after & was).sum(axis=0) + 1) / (was.sum(axis=0) + 2) for was in (~before, before))
    return lambda piece: np.where(np.concatenate([np.zeros_like(piece[:1]), piece[:-1]]), on, off)


def frame_costs(predict: Prediction, pieces: Sequence[Piece]) -> tuple[list[float], list[float]]:
    """For each piece the nats of its first frame, and of all frames after it, summed over keys."""
    costs = []
    for piece in pieces:
        probabilities = predict(piece)
        costs.append(-np.where(piece, np.log(probabilities), np.log1p(-probabilities)).sum(axis=1))
    return [float(cost[0]) for cost in costs], [float(cost[1:].sum()) for cost in costs]


def measures(row: str, first: Sequence[float], later: Sequence[float], num_frames: int) -> dict[str, float]:
    """`nats_a_frame` over all frames but each piece's first, as published; `nats_with_first` over all `num_frames`."""
    later_frames = num_frames - len(first)
    total = float(np.sum(later, dtype=np.float64))
    return {
        f"{row}/nats_a_frame": total / later_frames,
        f"{row}/nats_with_first": (total + float(np.sum(first, dtype=np.float64))) / num_frames,
    }
