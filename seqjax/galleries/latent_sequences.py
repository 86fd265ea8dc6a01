"""Figures made of sequences: what a VAE of sequences draws running freely, and where it puts the test sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from seqjax import plots
from seqjax.data.music import NUM_KEYS
from seqjax.data.sequences import NEWLINE, Sequences
from seqjax.data.text import decode, encode
from seqjax.models import sequence_latents
from seqjax.models.sequence_vae import SequenceVAE
from seqjax.types import Key, Params, Split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Panels = dict[str, np.ndarray]  # by title, each `[T ...]` in the form of `data.sequences`

SHOWN = 3  # sequences that are reconstructed
DRAWN = 5  # samples
STEPS = 6  # of an interpolation, both ends included
LONGEST = 160  # steps that are shown
MAP_ROWS = 2000


def sequence_figures(name: str, found: Sequences, model: SequenceVAE, params: Params, key: Key) -> dict[str, Figure]:
    """Samples; reconstructions; what lies between two test sequences; the codes in two dimensions, all of the test set.

    All but the true sequences are drawn from the model, running freely; of the steps of an interpolation all with the
    same noise. Samples are as long as the middle one of the test sequences.
    """
    test = found.data.test
    x, lengths = (np.asarray(test.fields[field]) for field in ("x", "length"))
    x, lengths = x[:, :LONGEST], np.minimum(lengths, LONGEST)
    middle = int(np.median(lengths))
    drawn = np.asarray(sequence_latents.sampled(model, params, key, DRAWN, middle))
    samples = {"a test sequence": x[0, : lengths[0]]} | {
        f"sample {number + 1}": row for number, row in enumerate(drawn)
    }

    shown = slice(0, SHOWN)
    rebuilt = sequence_latents.reconstructed(model, params, jnp.asarray(x[shown]), jnp.asarray(lengths[shown]), key)
    pairs = {}
    for number, (row, other, length) in enumerate(zip(x[shown], np.asarray(rebuilt), lengths[shown], strict=True)):
        # a line of a text ends where it says so itself
        end = None if found.likelihood == "categorical" else length
        pairs |= {f"test sequence {number + 1}": row[:length], f"{name} of {number + 1}": other[:end]}

    figures = {
        "samples": sequence_panels(found, samples),
        "reconstructions": sequence_panels(found, pairs),
        "latent_map": _latent_map(found, model, params, test),
    }
    if len(x) > 1:
        ends = jnp.asarray(x[:2]), jnp.asarray(lengths[:2])
        line = np.asarray(sequence_latents.interpolated(model, params, *ends, STEPS, key))
        weights = np.linspace(0, 1, STEPS)
        between = {f"{weight:.0%} of the way": row for weight, row in zip(weights, line, strict=True)}
        length = int(lengths[:2].max())
        rows = {"from": x[0, : lengths[0]], **{k: row[:length] for k, row in between.items()}, "to": x[1, : lengths[1]]}
        figures["interpolations"] = sequence_panels(found, rows)
    return figures


def sequence_panels(found: Sequences, panels: Panels) -> Figure:
    """One sequence below the other: rolls of zeros and ones, lines of a text, or curves of all features."""
    match found.likelihood:
        case "categorical":
            width = max(map(len, panels))
            lines = [f"{title.ljust(width)}  {_line(found, row)}" for title, row in panels.items()]
            return plots.pages({"": "\n".join(lines)}, columns=min(100, max(map(len, lines))))
        case "bernoulli":
            longest = max(map(len, panels.values()))
            rows = {
                title: np.pad(row.astype(float), ((0, longest - len(row)), (0, 0))) for title, row in panels.items()
            }
            return plots.rolls(rows, row="key" if found.num_values == NUM_KEYS else "feature")
    return _curves(panels)


def _line(found: Sequences, row: Int[np.ndarray, "T"]) -> str:
    """The text as far as its first line end."""
    end = np.flatnonzero(row == encode(np.asarray([NEWLINE], np.int32), found.known)[0])
    return decode(row[: end[0]] if len(end) else row, found.known)


def _curves(panels: Panels) -> Figure:
    figure, axes = plots.subplots((6.4, 1.3 * len(panels)), len(panels), 1, sharex=True, sharey=True)
    for (title, row), axis in zip(panels.items(), axes[:, 0], strict=True):
        axis.plot(row, linewidth=0.9)
        axis.set_title(title)
    axes[-1, 0].set_xlabel("step")
    return figure


def _latent_map(found: Sequences, model: SequenceVAE, params: Params, test: Split) -> Figure:
    rows = slice(0, MAP_ROWS)
    x, lengths = (jnp.asarray(test.fields[field][rows]) for field in ("x", "length"))
    codes = np.asarray(sequence_latents.encoded(model, params, x, lengths))
    seen = model.steps.seen(x)
    valid = (jnp.arange(seen.shape[1])[None, :] < lengths[:, None])[:, :, None]
    means = jnp.where(valid, seen, 0).sum(axis=1) / lengths[:, None]
    labels = test.fields.get("label")
    return plots.code_map(
        {
            "code" if codes.shape[1] == 2 else "code, first two components": plots.first_two_components(codes),
            "mean step, first two components": plots.first_two_components(np.asarray(jax.device_get(means))),
        },
        _lowest_keys(np.asarray(x)) if labels is None and found.num_values == NUM_KEYS else _rows(labels, rows),
    )


def _rows(labels: np.ndarray | None, rows: slice) -> np.ndarray | None:
    return None if labels is None else np.asarray(labels)[rows]


def _lowest_keys(x: np.ndarray) -> Int[np.ndarray, "N"]:
    """The pitch class, 0 to 11, of the lowest key of each piano roll's first frame; A is 0."""
    return np.argmax(x[:, 0], axis=1) % 12
