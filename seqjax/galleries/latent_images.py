"""Figures made of examples: samples, reconstructions, traversals and interpolations of a model with latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from seqjax import plots
from seqjax.data.batches import whole
from seqjax.models import latent_space
from seqjax.models.vae import VAE
from seqjax.types import Key, Params, Split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAP = 1  # pixels between images
MAP_ROWS = 5000  # of the latent map, where more would only cover each other
SHOWN = 12  # reconstructions
GRID = 8  # rows of samples, traversed units, interpolated pairs
STEPS = 9  # of a traversal or an interpolation
MOST_CONDITIONS = 12  # values of a condition that are sampled


def mosaic(
    values: Float[np.ndarray, "R T D"], *, rows: Sequence[str] = (), columns: Sequence[str] = (), title: str = ""
) -> Figure:
    """R rows of T examples: images of intensities in [0, 1] where the values make a square, else curves.

    rows, columns: what each is called; nothing where there are no names.
    """
    num_rows, num_columns, num_values = values.shape
    side = plots.image_side(num_values)
    figure = plots.blank((0.55 * num_columns + 0.6, 0.55 * num_rows + 0.5))
    if side is None:
        _curves(figure, values, rows, columns)
    else:
        pitch = side + GAP
        canvas = np.zeros((num_rows * pitch - GAP, num_columns * pitch - GAP))
        for (row, column), image in zip(np.ndindex(num_rows, num_columns), values.reshape(-1, side, side), strict=True):
            canvas[row * pitch : row * pitch + side, column * pitch : column * pitch + side] = image
        axis = figure.subplots()
        axis.imshow(canvas, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        for spine in axis.spines.values():
            spine.set_visible(False)
        middle = (side - 1) / 2
        axis.set_xticks([middle + pitch * k for k in range(len(columns))], columns)
        axis.set_yticks([middle + pitch * k for k in range(len(rows))], rows)
        axis.tick_params(length=0, labelsize=8)
    if title:
        figure.suptitle(title, fontsize=9)
    return figure


def _curves(figure: Figure, values: Float[np.ndarray, "R T D"], rows: Sequence[str], columns: Sequence[str]) -> None:
    axes = figure.subplots(*values.shape[:2], squeeze=False, sharex=True, sharey=True)
    for (row, column), axis in np.ndenumerate(axes):
        axis.plot(values[row, column], linewidth=0.8)
        axis.set(xticks=[], yticks=[])
        if row == 0 and column < len(columns):
            axis.set_title(columns[column], fontsize=8)
        if column == 0 and row < len(rows):
            axis.set_ylabel(rows[row], rotation=0, ha="right", va="center", fontsize=8)


def latent_figures(
    name: str, model: VAE, params: Params, test: Split, key: Key, condition: Float[Array, "N C"] | None = None
) -> dict[str, Figure]:
    """What a trained model generates, and where it puts the test examples, whose `condition` is given if there is one.

    Of samples and reconstructions the means are shown; under a condition a row of samples for each of its values, the
    latents the same down a column. Traversals are of the units that cost most, from -3 to 3 with the others at their
    place for the first test example; the interpolations' ends are test examples.
    """
    x = latent_space.flat(whole(Split({"x": test.fields["x"][:MAP_ROWS]}))["x"])
    own = None if condition is None else condition[: len(x)]
    costs = np.asarray(_costs_of_units(model, params, x, own, key))
    units = np.argsort(-costs, kind="stable")[:GRID]
    values = np.linspace(-3, 3, STEPS)
    codes = np.asarray(_codes(model, params, x, own))
    labels = test.fields.get("label")
    shown = slice(0, SHOWN)
    reconstructed = _compiled(latent_space.reconstructed)(model, params, x[shown], None if own is None else own[shown])
    figures = {
        "samples": _samples(model, params, key, 0 if condition is None else condition.shape[1]),
        "reconstructions": plots.reconstructions({"original": np.asarray(x[shown]), name: np.asarray(reconstructed)}),
        "traversals": mosaic(
            np.asarray(
                _compiled(latent_space.traversed)(
                    model, params, x[0], jnp.asarray(units), jnp.asarray(values), None if own is None else own[0]
                )
            ),
            rows=[f"unit {unit}, {costs[unit]:.2f} nats" for unit in units],
            columns=[f"{value:g}" for value in values],
        ),
        "latent_map": plots.code_map(
            {
                "code" if codes.shape[1] == 2 else "code, first two components": plots.first_two_components(codes),
                "data, first two components": plots.first_two_components(np.asarray(x)),
            },
            None if labels is None else np.asarray(labels[:MAP_ROWS]),
        ),
    }
    count = min(GRID, len(x) // 2)
    if count:
        first, last = slice(0, count), slice(count, 2 * count)
        conditions = None if own is None else (own[first], own[last])
        lines = _compiled(latent_space.interpolated, "num_steps")(model, params, x[first], x[last], STEPS, conditions)
        figures["interpolations"] = mosaic(
            np.asarray(lines), columns=[f"{weight:.2g}" for weight in np.linspace(0, 1, STEPS)]
        )
    return figures


def _samples(model: VAE, params: Params, key: Key, num_conditions: int) -> Figure:
    generated = _compiled(latent_space.generated, "num_examples")
    if num_conditions == 0:
        return mosaic(np.asarray(generated(model, params, key, GRID * GRID)).reshape(GRID, GRID, -1))
    each = [jnp.broadcast_to(row[None], (STEPS, num_conditions)) for row in jnp.eye(num_conditions)[:MOST_CONDITIONS]]
    rows = [np.asarray(generated(model, params, key, STEPS, condition)) for condition in each]
    return mosaic(np.stack(rows), rows=[str(number) for number in range(len(rows))])


def _compiled(function: Callable[..., Array], *static: str) -> Callable[..., Array]:
    """Of a model: operation by operation a figure takes longer to compile than to be drawn. static: other arguments."""
    return jax.jit(function, static_argnames=("model", *static))


@partial(jax.jit, static_argnames="model")
def _codes(
    model: VAE, params: Params, x: Float[Array, "N D"], condition: Float[Array, "N C"] | None
) -> Float[Array, "N Z"]:
    return model.apply(params, x, condition, method="encode")


@partial(jax.jit, static_argnames="model")
def _costs_of_units(
    model: VAE, params: Params, x: Float[Array, "N D"], condition: Float[Array, "N C"] | None, key: Key
) -> Float[Array, "Z"]:
    """Mean KL of each unit of the top layer, in nats."""
    batch = {"x": x, "index": jnp.arange(len(x), dtype=jnp.int32)}
    draws = latent_space.posterior_draws(model, params, batch, key, jnp.zeros(1, jnp.int32), condition=condition)
    return draws.kl[-1].mean(axis=(0, 1))
