"""Figures of a run. Matplotlib without a window; every function returns a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from seqjax.evaluate.reconstruction import pca_reconstruction, pca_squared_errors, values_of
from seqjax.types import Dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3, "font.size": 9}


def save_figures(figures: dict[str, Figure], directory: Path) -> list[Path]:
    """Writes each figure as NAME.png and returns the paths."""
    directory.mkdir(exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(directory / f"{name}.png")
        figure.savefig(paths[-1], dpi=130, bbox_inches="tight", metadata={"Software": None})
    return paths


def blank(size: tuple[float, float]) -> Figure:
    """A figure of so many inches with nothing on it."""
    # here and not above: who asks for --help does not wait for it
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def subplots(size: tuple[float, float], rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure of so many inches, and its axes `[rows columns]`."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure = blank(size)
        return figure, figure.subplots(rows, columns, squeeze=False, **options)


def palette(values: np.ndarray) -> Any:
    """The colours of so many different values, by their number."""
    import matplotlib as mpl

    return mpl.colormaps["tab10" if len(np.unique(values)) <= 10 else "tab20"]


def learning_curves(rows: Sequence[dict[str, Any]], phases: Sequence[str]) -> Figure:
    """Each metric of `metrics.jsonl` over the steps: the mean over seeds, and a band from the least to the greatest."""
    lists = (name for row in rows for name, value in row.items() if isinstance(value, list))
    names = list(dict.fromkeys(name for name in lists if name not in ("validation", "skipped")))
    norms = [n for n in names if n.endswith("gradient_norm")]  # each player of several has its own
    # a single term is the loss itself: one panel says it
    terms = [n for n in names if n not in ("loss", *norms) and any(r.get(n) != r.get("loss") for r in rows)]
    shown = [["loss", "validation"] if "loss" in names else ["validation"], *([n] for n in terms), norms]
    columns = min(3, len(shown))
    count = -(-len(shown) // columns)
    figure, axes = subplots((3.6 * columns, 2.7 * count), count, columns)
    starts = np.cumsum([0, *(max((r["step"] for r in rows if r["phase"] == p), default=0) for p in range(len(phases)))])
    for group, axis in zip(shown, axes.flat, strict=False):
        for name in group:
            points = [(starts[r["phase"]] + r["step"], r[name]) for r in rows if name in r]
            if not points:
                continue
            steps = np.asarray([step for step, _ in points])
            values = np.asarray([[np.nan if v is None else v for v in vs] for _, vs in points], np.float64)
            alive = np.isfinite(values).any(axis=1)
            steps, values = steps[alive], values[alive]
            label = name.replace("_", " ")
            (line,) = axis.plot(steps, np.nanmean(values, axis=1), label=label, linewidth=1.2)
            axis.fill_between(
                steps,
                np.nanmin(values, axis=1),
                np.nanmax(values, axis=1),
                alpha=0.25,
                color=line.get_color(),
                linewidth=0,
            )
            if len(values) and np.nanmin(values) > 0 and np.nanmax(values) > 20 * np.nanmin(values):
                axis.set_yscale("log")
        axis.set(xlabel="step", title="gradient norm" if group is norms else " and ".join(group).replace("_", " "))
        if len(group) > 1:
            axis.legend(frameon=False)
    for axis in list(axes.flat)[len(shown) :]:
        axis.set_visible(False)
    return figure


def image_side(num_values: int) -> int | None:
    """The side of a square image with that many pixels, or None."""
    side = round(num_values**0.5)
    return side if side * side == num_values else None


def reconstructions(rows: dict[str, Float[np.ndarray, "K D"]]) -> Figure:
    """One row a method, one column an example: images where the values make a square, else curves."""
    count = len(next(iter(rows.values())))
    figure, axes = subplots((0.9 * count + 0.8, 0.95 * len(rows)), len(rows), count)
    side = image_side(next(iter(rows.values())).shape[1])
    original = next(iter(rows.values()))
    for (name, values), line in zip(rows.items(), axes, strict=True):
        for axis, row, reference in zip(line, values, original, strict=True):
            axis.grid(visible=False)
            axis.set(xticks=[], yticks=[])
            if side is None:
                axis.plot(row, linewidth=0.8)
                axis.set_ylim(reference.min() - 0.1, reference.max() + 0.1)
            else:
                axis.imshow(row.reshape(side, side), cmap="gray_r", vmin=0, vmax=max(1e-9, original.max()))
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def code_map(maps: dict[str, Float[np.ndarray, "N 2"]], labels: Int[np.ndarray, "N"] | None) -> Figure:
    """Two-dimensional codes side by side, coloured by label."""
    figure, axes = subplots((4.6 * len(maps), 4.0), 1, len(maps))
    for (name, points), axis in zip(maps.items(), axes[0], strict=True):
        if labels is None:
            axis.scatter(*points.T, s=5, alpha=0.6, linewidths=0)
        else:
            colours = palette(labels)
            for number, label in enumerate(np.unique(labels)):
                colour = colours(number % colours.N)
                axis.scatter(*points[labels == label].T, s=6, alpha=0.7, linewidths=0, color=colour, label=str(label))
        axis.set_title(name)
    if labels is not None and len(np.unique(labels)) <= 20:
        axes[0][-1].legend(frameon=False, markerscale=2, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def first_two_components(values: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N 2"]:
    """The rows on their own first two principal axes: two-dimensional values stay what they are, up to a rotation.

    Rows that are not finite are left out of the axes and come back as NaN.
    """
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values).all(axis=1)
    centred = values - values[finite].mean(axis=0) if finite.any() else values * np.nan
    axes = np.linalg.svd(centred[finite], full_matrices=False)[2][:2]
    return np.pad(centred @ axes.T, ((0, 0), (0, max(0, 2 - len(axes)))))


def error_against_code_size(
    curve: tuple[Sequence[int], Sequence[float]],
    points: dict[str, Sequence[tuple[int, float, float]]],
    *,
    measure: str,
    curve_name: str = "PCA",
) -> Figure:
    """A baseline's error for every code size, and methods as `(code size, mean, half-width)` points on top."""
    figure, ((axis,),) = subplots((4.6, 3.2))
    axis.plot(*curve, color="0.4", label=curve_name)
    for name, values in points.items():
        sizes, means, halves = zip(*values, strict=True)
        axis.errorbar(sizes, means, yerr=halves, fmt="o-", capsize=3, label=name)
    axis.set(xlabel="code size", ylabel=measure, ylim=(0, None))
    axis.legend(frameon=False)
    return figure


def reconstruction_figures(
    data: Dataset,
    method: str,
    reconstructed: Float[np.ndarray, "N D"],
    codes: Float[np.ndarray, "N Z"],
    measured: dict[str, Any],
    *,
    examples: int = 12,
) -> dict[str, Figure]:
    """Reconstructions beside originals and PCA's; the code in two dimensions beside PCA's; error against code size.

    measured: the method's summed squared error per test example, summarised over seeds.
    """
    train, test, labels = values_of(data.train), values_of(data.test), data.test.fields.get("label")
    code_size, shown = codes.shape[1], slice(0, examples)
    sizes = [k for k in (0, 1, 2, 3, 5, 8, 10, 16, 20, 30, 32, 50, 64) if k < min(train.shape)]
    return {
        "reconstructions": reconstructions(
            {
                "original": test[shown],
                method: reconstructed[shown],
                f"PCA-{code_size}": pca_reconstruction(train, test[shown], code_size),
            }
        ),
        "code_map": code_map(
            {
                "code" if code_size <= 2 else "code, first two components": first_two_components(codes),
                "data, first two components": first_two_components(test),
            },
            None if labels is None else np.asarray(labels),
        ),
        "error_against_code_size": error_against_code_size(
            (sizes, pca_squared_errors(train, test, sizes)),
            {method: [(code_size, measured["mean"], measured["ci95"] or 0.0)]},
            measure="squared error per test example",
        ),
    }


def gradient_flow(curves: dict[str, Float[np.ndarray, "T"]], *, of: str = "output") -> Figure:
    """Norm of a gradient to the state by lag, on a logarithmic axis: a straight line down is one that vanishes."""
    figure, ((axis,),) = subplots((5.2, 3.4))
    for name, norms in curves.items():
        axis.plot(np.where(norms > 0, norms, np.nan), label=name, linewidth=1.2)
    axis.set(xlabel="lag, steps back from the last", ylabel=f"norm of d {of} / d state", yscale="log")
    axis.legend(frameon=False)
    return figure


def confusion(counts: Int[np.ndarray, "C K"], *, said: str = "class said") -> Figure:
    """Shares of each true class (a row) by what was said (a column), written where they are over 0.5 %."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    height, width = (1.2 + 0.38 * size for size in shares.shape)
    figure, ((axis,),) = subplots((width, height))
    axis.grid(visible=False)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = "white" if share > 0.5 else "black"
            axis.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=colour)
    classes, columns = (range(size) for size in shares.shape)
    axis.set(xlabel=said, ylabel="true class", xticks=columns, yticks=classes, title="% of the true class")
    return figure


def errors_by_step(curves: dict[str, Float[np.ndarray, "T"]], *, measure: str) -> Figure:
    """Error at each step ahead, one line a method."""
    figure, ((axis,),) = subplots((5.2, 3.4))
    for name, errors in curves.items():
        axis.plot(np.arange(1, len(errors) + 1), errors, label=name, linewidth=1.2, marker=".", markersize=4)
    means = [np.mean(errors) for errors in curves.values()]
    axis.set(xlabel="steps ahead", ylabel=measure)
    if min(means) > 0 and max(means) > 10 * min(means):
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, None)
    axis.legend(frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def forecasts(
    past: Float[np.ndarray, "K C D"],
    future: Float[np.ndarray, "K h D"],
    predicted: dict[str, Float[np.ndarray, "K h D"]],
) -> Figure:
    """One column a window, one line a channel: what was read, what came, and what each method said would come."""
    (count, context, num_channels), horizon = past.shape, future.shape[1]
    figure, axes = subplots((3.4 * count + 1, 1.6 * num_channels), num_channels, count, sharex=True, sharey="row")
    steps = np.arange(1, horizon + 1)
    for (channel, window), axis in np.ndenumerate(axes):
        seen = past[window, :, channel]
        axis.plot(np.arange(1 - context, 1), seen, color="0.6", linewidth=1)
        axis.plot(np.append(0, steps), np.append(seen[-1], future[window, :, channel]), color="black", label="truth")
        for name, values in predicted.items():
            axis.plot(steps, values[window, :, channel], label=name, linewidth=1.2)
        if window == 0:
            axis.set_ylabel(f"channel {channel + 1}")
    for axis in axes[-1]:
        axis.set_xlabel("steps ahead")
    axes[0][-1].legend(frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def symbol_rows(panels: dict[str, Int[np.ndarray, "N T"]], *, num_symbols: int) -> Figure:
    """Rows of symbols side by side, one example a line: a colour and a number for each; the first panel is the truth.

    A symbol that differs from the truth is crossed out.
    """
    truth = next(iter(panels.values()))
    size = (0.28 * truth.shape[1] * len(panels) + 0.5, 0.28 * len(truth) + 0.5)
    figure, axes = subplots(size, 1, len(panels))
    for (name, symbols), axis in zip(panels.items(), axes[0], strict=True):
        axis.grid(visible=False)
        axis.imshow(symbols, cmap="tab10", vmin=-0.5, vmax=max(9, num_symbols - 1) + 0.5, alpha=0.6)
        for (row, step), symbol in np.ndenumerate(symbols):
            axis.text(step, row, str(symbol), ha="center", va="center", fontsize=7)
            if symbol != truth[row, step]:
                axis.plot([step - 0.4, step + 0.4], [row + 0.4, row - 0.4], color="black", linewidth=1)
        axis.set(title=name, xticks=[], yticks=[])
    return figure


def rolls(panels: dict[str, Float[np.ndarray, "T D"]], *, row: str) -> Figure:
    """Values in [0, 1] over time as shades, one panel above the other on one time axis, the first feature lowest."""
    num_steps, _ = next(iter(panels.values())).shape
    width = min(14.0, 3 + 0.06 * num_steps)
    figure, axes = subplots((width, 2.0 * len(panels)), len(panels), 1, sharex=True, sharey=True)
    for (name, values), axis in zip(panels.items(), axes[:, 0], strict=True):
        axis.grid(visible=False)
        axis.imshow(values.T, cmap="gray_r", vmin=0, vmax=1, aspect="auto", origin="lower", interpolation="nearest")
        axis.set(title=name, ylabel=row)
    axes[-1, 0].set_xlabel("frame")
    shown = np.flatnonzero(np.max([v.max(axis=0) for v in panels.values()], axis=0) > 0.05)
    if len(shown):
        axes[0, 0].set_ylim(shown[0] - 1.5, shown[-1] + 1.5)
    return figure


def pages(panels: dict[str, str], *, columns: int = 60, lines: int = 24) -> Figure:
    """Texts side by side as they would be printed, long lines broken, each cut to so many lines."""
    broken = {
        name: [line[i : i + columns] for line in text.splitlines() for i in range(0, max(1, len(line)), columns)][
            :lines
        ]
        for name, text in panels.items()
    }
    highest = max(map(len, broken.values()))
    figure, axes = subplots((0.075 * columns * len(panels), 0.155 * highest + 0.4), 1, len(panels))
    for (name, page), axis in zip(broken.items(), axes[0], strict=True):
        # no sign is the start of a formula, and what is no sign needs no place
        shown = "\n".join("".join(c if c.isprintable() else " " for c in line) for line in page)
        axis.text(0, 1, shown, family="monospace", fontsize=7, va="top", transform=axis.transAxes, parse_math=False)
        axis.set_title(name, loc="left", fontsize=9)
        axis.set_axis_off()
    return figure


def samples_over_time(
    panels: dict[str, Float[np.ndarray, "N 2"]], means: Float[np.ndarray, "K 2"], *, stddev: float
) -> Figure:
    """Points in the plane, a panel for each moment, over circles of three standard deviations around the modes."""
    from matplotlib.patches import Circle

    columns = min(5, len(panels))
    count = -(-len(panels) // columns)
    figure, axes = subplots((2.5 * columns, 2.6 * count), count, columns, sharex=True, sharey=True)
    # what lies far out is left out: it would shrink the modes to dots
    reach = 1.35 * np.abs(means).max() + 3 * stddev
    for (name, points), axis in zip(panels.items(), axes.flat, strict=False):
        for mean in means:
            # circles of three standard deviations may be smaller than a dot
            axis.add_patch(Circle(mean, max(3 * stddev, 0.02 * reach), fill=False, color="tab:red", linewidth=0.7))
        axis.scatter(*np.asarray(points).T, s=2, alpha=0.4, linewidths=0, color="black", rasterized=True)
        axis.set(title=name, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    return figure
