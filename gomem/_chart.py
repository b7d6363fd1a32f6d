"""Line charts as SVG text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

WIDTH, HEIGHT = 900, 300
LEFT, RIGHT, TOP, BOTTOM = 78, 12, 10, 34


@dataclass(frozen=True)
class Line:
    """A series of a chart: values at the chart's x, drawn as steps; dash is SVG's stroke-dasharray."""

    name: str
    y: np.ndarray[Any, Any]
    colour: str
    dash: str = ""


def nice_step(span: float, wanted: int = 5, base: float = 10.0) -> float:
    """A round number (1, 2 or 5 times a power of ten; powers of two for base 2) to step through span."""
    if span <= 0:
        return 1.0
    raw = span / wanted
    if base == 2:
        return 2.0 ** math.ceil(math.log2(raw))
    power: float = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw)


def _ticks(low: float, high: float, step: float) -> list[float]:
    first = math.ceil(low / step)
    return [i * step for i in range(first, int(high / step) + 1)]


def _thin(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> list[tuple[float, float]]:
    """At most two points a pixel column: its lowest and its highest, in their order."""
    columns = np.floor(x).astype(np.int64)
    points: list[tuple[float, float]] = []
    starts = np.flatnonzero(np.diff(columns, prepend=columns[0] - 1))
    for start, end in zip(starts, [*starts[1:], len(x)]):
        part = y[start:end]
        for i in sorted({int(part.argmin()), int(part.argmax())}):
            points.append((float(x[start + i]), float(part[i])))
    return points


def line_chart(
    x: np.ndarray[Any, Any],
    lines: Sequence[Line],
    *,
    x_label: str,
    y_text: Callable[[float], str],
    mark: tuple[float, str] | None = None,
) -> str:
    """Lines over a common x, from y = 0 up; ``mark`` is an x to point out, with its name."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    low, high = (float(x.min()), float(x.max())) if len(x) else (0.0, 1.0)
    top = max([1.0, *(float(line.y.max()) for line in lines if len(line.y))]) * 1.05

    def at_x(value: Any) -> Any:
        return LEFT + (value - low) / max(high - low, 1e-12) * width

    def at_y(value: Any) -> Any:
        return TOP + height - value / top * height

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT + 24}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT + 24}" role="img">'
        "<style>.a{font:11px sans-serif;fill:#556}</style>"
    ]
    for tick in _ticks(0, top, nice_step(top, 5, base=2)):
        y = at_y(tick)
        out.append(
            f'<path d="M{LEFT} {y:.1f}h{width}" stroke="#e6e8ee"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" class="a">{y_text(tick)}</text>'
        )
    for tick in _ticks(low, high, nice_step(high - low, 8)):
        out.append(
            f'<text x="{at_x(tick):.1f}" y="{TOP + height + 15}" text-anchor="middle" class="a">'
            f"{tick:g}</text>"
        )
    out.append(
        f'<text x="{LEFT + width}" y="{TOP + height + 29}" text-anchor="end" class="a">'
        f"{escape(x_label)}</text>"
    )
    if mark is not None:
        out.append(
            f'<path d="M{at_x(mark[0]):.1f} {TOP}v{height}" stroke="#99a" stroke-dasharray="2 3"/>'
            f'<text x="{at_x(mark[0]) + 4:.1f}" y="{TOP + 11}" class="a">{escape(mark[1])}</text>'
        )
    key_x = LEFT
    for line in lines:
        points = _thin(at_x(x), at_y(line.y.astype(np.float64))) if len(x) else []
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
        if path:
            out.append(
                f'<path d="M{path}" fill="none" stroke="{line.colour}" stroke-width="1.5"{dash}/>'
            )
        out.append(
            f'<path d="M{key_x} {HEIGHT + 10}h18" stroke="{line.colour}" stroke-width="2"{dash}/>'
            f'<text x="{key_x + 23}" y="{HEIGHT + 14}" class="a">{escape(line.name)}</text>'
        )
        key_x += 40 + 7 * len(line.name)
    return "".join(out) + "</svg>"
