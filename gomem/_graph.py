"""Pictures of a heap's graph in its colours, as SVG and as text.

The layout is the same in every run: a column for each distance from the roots, objects in the order in
which the walk comes to them; what no root leads to stands below. The picture has a ground of its own on
which white, grey and black stand out alike, so that it looks the same in light and dark notebooks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from gomem.colors import GARBAGE, NAMES, SYMBOLS

if TYPE_CHECKING:
    from gomem.colors import Colors

GROUND, INK, FAINT, ACCENT = "#ccd5e0", "#1d2733", "#66758a", "#b4390b"
FILLS = ("#ffffff", "#8b95a3", "#12161c", "none")
RADIUS, COLUMN, ROW = 10, 78, 40
TALLEST, TALLEST_UNREACHED = 14, 4  # rows
LEFT, TOP = 46, 34


@dataclass(frozen=True)
class _Place:
    x: float
    y: float


def _links(colors: Colors) -> tuple[dict[int, list[int]], list[int]]:
    """Targets by source, each once, and the objects that roots point to."""
    targets: dict[int, dict[int, None]] = {address: {} for address in colors}
    rooted: dict[int, None] = {}
    assert colors.pointers is not None
    for source, _, target in colors.pointers.tolist():
        if source:
            targets[source][target] = None
        else:
            rooted[target] = None
    return {source: list(found) for source, found in targets.items()}, sorted(rooted)


def _layers(starts: Sequence[int], links: dict[int, list[int]], seen: set[int]) -> list[list[int]]:
    """Objects by distance from the starts, without those that were seen before."""
    layers: list[list[int]] = []
    todo = deque((address, 0) for address in starts if address not in seen)
    seen.update(address for address, _ in todo)
    while todo:
        address, depth = todo.popleft()
        if depth == len(layers):
            layers.append([])
        layers[depth].append(address)
        for target in links[address]:
            if target not in seen:
                seen.add(target)
                todo.append((target, depth + 1))
    return layers


def _place(layers: list[list[int]], top: float, tallest: int, places: dict[int, _Place]) -> float:
    """Places the objects of layers below ``top``; where they end."""
    x, bottom = float(LEFT), top
    for layer in layers:
        for start in range(0, len(layer), tallest):
            part = layer[start : start + tallest]
            for i, address in enumerate(part):
                places[address] = _Place(x, top + i * ROW)
            bottom = max(bottom, top + len(part) * ROW)
            # Part of a layer that is taller than the picture stands a little nearer.
            x += COLUMN if start + tallest >= len(layer) else COLUMN * 0.6
    return bottom


def _unreached(colors: Colors, links: dict[int, list[int]], seen: set[int]) -> list[list[int]]:
    """Layers of what no root leads to, from what nothing else points to."""
    rest = [address for address in colors if address not in seen]
    pointed_to = {t for source in rest for t in links[source] if t != source}
    layers = _layers([a for a in rest if a not in pointed_to], links, seen)
    for address in rest:  # rings
        if address not in seen:
            ring = _layers([address], links, seen)
            layers += [[] for _ in range(len(ring) - len(layers))]
            for layer, part in zip(layers, ring):
                layer += part
    return layers


def _arrow(source: _Place, target: _Place) -> str:
    """An edge from rim to rim; bent where it would run through others."""
    if source == target:
        x, y = source.x, source.y - RADIUS
        return f"M{x - 4:.1f} {y + 1:.1f}c-10 -18 18 -18 8.5 -1"
    dx, dy = target.x - source.x, target.y - source.y
    length = (dx * dx + dy * dy) ** 0.5
    start = RADIUS / length
    end = 1 - (RADIUS + 4) / length
    x1, y1 = source.x + dx * start, source.y + dy * start
    x2, y2 = source.x + dx * end, source.y + dy * end
    if 0 < dx <= COLUMN * 1.5:
        return f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"
    bend = 0.16 if dx <= 0 else 0.1
    mx, my = (x1 + x2) / 2 - dy * bend, (y1 + y2) / 2 + dx * bend
    return f"M{x1:.1f} {y1:.1f}Q{mx:.1f} {my:.1f} {x2:.1f} {y2:.1f}"


def _short(address: int) -> str:
    return f"{address & 0xFFFFF:05x}"


def _disc(place: _Place, address: int, color: int, title: str, shaded: bool) -> str:
    dash = ' stroke-dasharray="3 2.5"' if color == GARBAGE else ""
    ring = ""
    if shaded:
        ring = (
            f'<circle cx="{place.x:.1f}" cy="{place.y:.1f}" r="{RADIUS + 3}" fill="none" '
            f'stroke="{ACCENT}" stroke-width="1.5"/>'
        )
    return (
        f"<g><title>{escape(title)}</title>{ring}"
        f'<circle cx="{place.x:.1f}" cy="{place.y:.1f}" r="{RADIUS}" fill="{FILLS[color]}" '
        f'stroke="{INK}" stroke-width="1.2"{dash}/>'
        f'<text x="{place.x:.1f}" y="{place.y + RADIUS + 10:.1f}" text-anchor="middle" class="n">'
        f"{_short(address)}</text></g>"
    )


def _legend(colors: Colors, y: float) -> str:
    out, x = [], 12.0
    for color, (name, n) in enumerate(colors.counts.items()):
        dash = ' stroke-dasharray="3 2.5"' if color == GARBAGE else ""
        out.append(
            f'<circle cx="{x + 6:.0f}" cy="{y:.0f}" r="6" fill="{FILLS[color]}" stroke="{INK}"{dash}/>'
            f'<text x="{x + 17:.0f}" y="{y + 4:.0f}" class="t">{n:,} {name}</text>'
        )
        x += 34 + 7 * len(f"{n:,} {name}")
    if colors.array["shaded"].any():
        out.append(
            f'<circle cx="{x + 6:.0f}" cy="{y:.0f}" r="6" fill="none" stroke="{ACCENT}" '
            f'stroke-width="1.5"/><text x="{x + 17:.0f}" y="{y + 4:.0f}" class="t">in a barrier</text>'
        )
    return "".join(out)


def _frame(colors: Colors, width: float, height: float, content: str) -> str:
    width = max(width, 440)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="objects by colour">'
        f"<style>.n{{font:8.5px monospace;fill:{INK}}}.t{{font:11px sans-serif;fill:{INK}}}"
        f".q{{font:10px sans-serif;fill:{FAINT}}}</style>"
        f'<defs><marker id="gomem-arrow" viewBox="0 0 6 6" refX="2" refY="3" markerWidth="6" '
        'markerHeight="6" markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
        f'<path d="M0 0L6 3L0 6z" fill="{FAINT}"/></marker></defs>'
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="6" fill="{GROUND}"/>'
        f'<text x="12" y="17" class="t">{escape(f"phase: {colors.phase}")}</text>{content}'
        f"{_legend(colors, height - 14)}</svg>"
    )


def graph_svg(colors: Colors) -> str:
    """Every object as a disc of its colour, every pointer as an arrow; short ones are roots."""
    links, rooted = _links(colors)
    places: dict[int, _Place] = {}
    seen: set[int] = set()
    bottom = _place(_layers(rooted, links, seen), TOP + RADIUS, TALLEST, places)
    out = []
    unreached = _unreached(colors, links, seen)
    if unreached:
        if bottom > TOP + RADIUS:
            bottom += 8
        out.append(f'<text x="12" y="{bottom + 4:.0f}" class="q">no root leads here</text>')
        bottom = _place(unreached, bottom + 24, TALLEST_UNREACHED, places)
    for source, targets in links.items():
        for target in targets:
            out.append(
                f'<path d="{_arrow(places[source], places[target])}" fill="none" stroke="{FAINT}" '
                'marker-end="url(#gomem-arrow)"/>'
            )
    for target in rooted:
        at = places[target]
        out.append(
            f'<path d="M{at.x - RADIUS - 18:.1f} {at.y:.1f}h14" stroke="{INK}" stroke-width="2" '
            'fill="none" marker-end="url(#gomem-arrow)"/>'
        )
    for address, size, size_class, color, noscan, shaded in colors.array.tolist():
        kind = "large" if size_class == 0 else f"class {size_class}"
        title = f"{address:#x}: {NAMES[color]}, {size} bytes, {kind}"
        title += ", without pointers" if noscan else ""
        out.append(_disc(places[address], address, color, title, shaded))
    width = max([place.x for place in places.values()], default=0.0) + LEFT
    return _frame(colors, width, bottom + 30, "".join(out))


def summary_svg(colors: Colors) -> str:
    """How many objects of each size class have which colour, as bars."""
    array = colors.array
    classes = sorted(set(array["size_class"].tolist()), key=lambda c: c or 999)
    most = max((int((array["size_class"] == c).sum()) for c in classes), default=1)
    out, y = [], float(TOP)
    for size_class in classes:
        of_class = array[array["size_class"] == size_class]
        x = 96.0
        name = "large" if size_class == 0 else f"{int(of_class['size'].max()):,} bytes"
        out.append(f'<text x="90" y="{y + 9:.0f}" text-anchor="end" class="t">{name}</text>')
        for color in range(len(NAMES)):
            n = int((of_class["color"] == color).sum())
            if n == 0:
                continue
            width = max(1.0, n / most * 420)
            dash = ' stroke-dasharray="3 2.5"' if color == GARBAGE else ""
            out.append(
                f'<rect x="{x:.1f}" y="{y:.0f}" width="{width:.1f}" height="11" '
                f'fill="{FILLS[color]}" stroke="{INK}" stroke-width="0.7"{dash}>'
                f"<title>{n:,} {NAMES[color]}</title></rect>"
            )
            x += width + 1
        out.append(f'<text x="{x + 5:.1f}" y="{y + 9:.0f}" class="q">{len(of_class):,}</text>')
        y += 16
    return _frame(colors, 600, y + 34, "".join(out))


def graph_text(colors: Colors) -> str:
    """A line an object: colour, address, what roots and it point to; or counts, if there are many."""
    lines = [f"phase: {colors.phase}"]
    lines += [f"{s} {n:,} {name}" for s, (name, n) in zip(SYMBOLS, colors.counts.items()) if n]
    if colors.pointers is None:
        return "\n".join(lines)
    links, rooted = _links(colors)
    roots = set(rooted)
    for address, size, _, color, _, shaded in colors.array.tolist():
        line = f"{'>' if address in roots else ' '} {SYMBOLS[color]} {address:#x} {size} bytes"
        if links[address]:
            line += " -> " + ", ".join(f"{target:#x}" for target in links[address])
        lines.append(line + (" (in a barrier)" if shaded else ""))
    return "\n".join(lines)
