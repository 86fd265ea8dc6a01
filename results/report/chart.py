"""Lines with bands over steps, as inline SVG in the colours of the page."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from results.report.markup import Markup, element

WIDTH, HEIGHT = 340, 222
LEFT, RIGHT, TOP, BOTTOM = 48, 8, 8, 34
COLOURS = 10  # of page.css
MOST_POINTS = 120  # of a line: more than a screen tells apart


class Point(NamedTuple):
    step: float
    mean: float
    low: float
    high: float


class Line(NamedTuple):
    """A name and its points in order, at least one; colour: a number, the same for the same thing in every chart."""

    label: str
    points: Sequence[Point]
    colour: int


def chart(title: str, lines: Sequence[Line], *, band: str) -> Markup:
    """A figure with a line and a band for each name, logarithmic where the values span a factor of 20 above zero.

    band: what the band is, in words.
    """
    drawn = [line._replace(points=_thinned(line.points)) for line in lines]
    points = [point for line in drawn for point in line.points]
    low, high = min(p.low for p in points), max(p.high for p in points)
    logarithmic = low > 0 and high > 20 * low
    steps = _Scale(*_widened(0.0, max(p.step for p in points)), LEFT, WIDTH - RIGHT, logarithmic=False)
    if logarithmic:
        values = _Scale(math.log10(low), math.log10(high), HEIGHT - BOTTOM, TOP, logarithmic=True)
    else:
        values = _Scale(*_widened(low, high), HEIGHT - BOTTOM, TOP, logarithmic=False)
    shapes = [_grid(steps, values)]
    for line in drawn:
        shapes.append(_shape(line.points, steps, values, colour=f"c{line.colour % COLOURS}"))
    ends = "; ".join(f"{line.label} {line.points[0].mean:.4g} to {line.points[-1].mean:.4g}" for line in drawn)
    said = f"{title} by step, {'' if not band else band + ', '}first to last mean: {ends}"
    drawing = element("svg", *shapes, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=said)
    keys = [element("span", element("span", line.label), class_=f"key c{line.colour % COLOURS}") for line in lines]
    scale = " (logarithmic)" if logarithmic else ""
    return element("figure", drawing, element("figcaption", f"{title}{scale} ", *(keys if len(keys) > 1 else ())))


class _Scale(NamedTuple):
    """From values, or their logarithms, to places in the drawing."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def place(self, value: float) -> float:
        at = math.log10(value) if self.logarithmic else value
        return self.start + (self.end - self.start) * ((at - self.low) / (self.high - self.low))


def _widened(low: float, high: float) -> tuple[float, float]:
    """Limits that differ by more than rounding."""
    if high - low > max(1e-9 * max(abs(low), abs(high)), 1e-250):
        return low, high
    return low - abs(low) / 2 - 0.5, low + abs(low) / 2 + 0.5


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most so many points; each stands for its neighbours, with a band as wide as theirs together."""
    size = -(-len(points) // MOST_POINTS)
    parts = (points[start : start + size] for start in range(0, len(points), size))
    return [
        Point(
            part[-1].step,
            math.fsum(p.mean for p in part) / len(part),
            min(p.low for p in part),
            max(p.high for p in part),
        )
        for part in parts
    ]


def _shape(points: Sequence[Point], steps: _Scale, values: _Scale, *, colour: str) -> Markup:
    def path(places: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{steps.place(step):.1f} {values.place(value):.1f}" for step, value in places)

    if len(points) == 1:
        # a line of one point would be seen nowhere
        points = [points[0]._replace(step=points[0].step * 0.985), points[0]]
    upper, lower = [(p.step, p.high) for p in points], [(p.step, p.low) for p in reversed(points)]
    band = element("path", class_="band", d=Markup(path(upper + lower) + "Z"))
    return element(
        "g", band, element("path", class_="line", d=Markup(path([(p.step, p.mean) for p in points]))), class_=colour
    )


def _grid(steps: _Scale, values: _Scale) -> Markup:
    marks = []
    for value in ticks(values.low, values.high, logarithmic=values.logarithmic):
        y = f"{values.place(value):.1f}"
        marks.append(element("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
        marks.append(element("text", _short(value), x=LEFT - 5, y=y, dy="0.32em", text_anchor="end"))
    for step in ticks(max(steps.low, 0.0), steps.high, logarithmic=False):
        # a label at the very edge would be cut off
        anchor = "end" if steps.place(step) > WIDTH - RIGHT - 12 else "middle"
        x, y = f"{steps.place(step):.1f}", HEIGHT - BOTTOM + 14
        marks.append(element("text", _short(step), x=x, y=y, text_anchor=anchor))
    middle = (LEFT + WIDTH - RIGHT) / 2
    marks.append(element("text", "training step", x=middle, y=HEIGHT - 5, text_anchor="middle"))
    return element("g", *marks, aria_hidden="true")


def ticks(low: float, high: float, *, logarithmic: bool) -> list[float]:
    """Two to six round values from low to high, which are logarithms where the scale is logarithmic."""
    if logarithmic:
        powers = range(math.floor(low), math.ceil(high) + 1)
        for multiples in ((1, 2, 5), (1, 3), (1,)):
            found = [m * 10.0**power for power in powers for m in multiples if low <= math.log10(m) + power <= high]
            if len(found) <= 6:
                return found
        return found[:: -(-len(found) // 6)]
    size = 10.0 ** math.floor(math.log10((high - low) / 4))
    width = next(m * size for m in (1, 2, 5, 10, 20) if (high - low) / (m * size) <= 5)
    first, last = math.ceil(low / width), math.floor(high / width)
    # multiples of tenths: 3 * 0.1 is not 0.3
    return [float(f"{number * width:.12g}") for number in range(first, last + 1)]


def _short(value: float) -> str:
    """`20k` for a number of steps."""
    return f"{value / 1000:g}k" if 1e4 <= abs(value) < 1e6 else f"{value:.4g}"
