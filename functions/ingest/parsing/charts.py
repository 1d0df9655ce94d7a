"""Charts of Office documents (DrawingML): a table of categories and series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .archives import Archive
from .blocks import Block, clean_line, paragraph
from .number_formats import GENERAL, show_number
from .tables import MAX_TITLE_CHARS, TableWriter

# Points of a chart that are read; a chart of more shows a shape, not values.
_MAX_POINTS = 5_000
_MAX_SERIES = 200


@dataclass(slots=True)
class _Series:
    name: str = ""
    categories: dict[int, str] = field(default_factory=dict)
    values: dict[int, str] = field(default_factory=dict)
    sizes: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Chart:
    title: str = ""
    axes: list[str] = field(default_factory=list)
    series: list[_Series] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


def chart_blocks(archive: Archive, part: str, *, page: int | None = None) -> Iterator[Block]:
    """Yield a chart's title, and a row for each category with the value of each series."""
    chart = _read(archive, part)
    title = chart.title
    if title:
        yield from paragraph(title, page=page)
    writer = TableWriter(page=page)
    if len(title) <= MAX_TITLE_CHARS:
        writer.title = title
    series = [one for one in chart.series if one.values]
    if not series:
        for axis in chart.axes:
            yield from paragraph(axis, page=page)
        return
    names = [
        one.name or (f"Series {i}" if len(series) > 1 else "") for i, one in enumerate(series, 1)
    ]
    corner = chart.axes[0] if chart.axes else ""
    measure = chart.axes[1] if len(chart.axes) > 1 else ""
    if measure:
        names = [f"{name} ({measure})" if name else measure for name in names]
    shared = series[0].categories
    if all(one.categories == shared or not one.categories for one in series):
        yield from writer.row([corner, *names], is_header=True)
        for point in sorted({point for one in series for point in (*one.values, *shared)}):
            row = [shared.get(point, str(point + 1))]
            row += [one.values.get(point, "") for one in series]
            yield from writer.row(row, is_header=False)
    else:
        # Scattered points: each series has places of its own.
        yield from writer.row(["Series", corner or "x", measure or "y"], is_header=True)
        for name, one in zip(names, series, strict=True):
            for point, value in sorted(one.values.items()):
                row = [name, one.categories.get(point, ""), value, one.sizes.get(point, "")]
                yield from writer.row(row, is_header=False)
    yield from writer.end()


def chart_title(archive: Archive, part: str) -> tuple[str, set[str]]:
    """Return a chart's title with its axes, and the names of the sheets that it is drawn from."""
    chart = _read(archive, part)
    axes = ", ".join(chart.axes)
    title = f"{chart.title} ({axes})" if chart.title and axes else chart.title or axes
    named = (source.rpartition("!")[0].strip("'").replace("''", "'") for source in chart.sources)
    return title, set(filter(None, named))


def _read(archive: Archive, part: str) -> _Chart:
    chart = _Chart()
    series: _Series | None = None
    inside: list[str] = []
    text: list[str] = []
    point = count = 0
    code = GENERAL
    levels: dict[int, list[str]] = {}
    for event in archive.xml(part):
        name = event.name
        if event.kind == "text":
            if inside and inside[-1] in ("t", "v", "f", "formatCode"):
                text.append(event.text)
            continue
        if event.kind == "start":
            inside.append(name)
            if name in ("t", "v", "f", "formatCode"):
                text = []
            elif name == "ser" and len(chart.series) < _MAX_SERIES:
                series = _Series()
                chart.series.append(series)
            elif name == "pt":
                point = _integer(event.attributes.get("idx", ""))
                count += 1
            elif name in ("cat", "xVal", "val", "yVal", "bubbleSize"):
                code, levels = GENERAL, {}
            elif name == "title" and "plotArea" in inside:
                chart.axes.append("")
            continue
        inside.pop()
        said = clean_line("".join(text)) if name in ("t", "v", "f", "formatCode") else ""
        if name == "f" and len(chart.sources) < _MAX_SERIES:
            chart.sources.append(said)
        if name == "formatCode":
            code = said
        elif name == "t" and "title" in inside:
            if "plotArea" in inside:
                chart.axes[-1] = f"{chart.axes[-1]} {said}".strip()
            else:
                chart.title = f"{chart.title} {said}".strip()
        elif name == "v" and series is not None and count <= _MAX_POINTS:
            if "tx" in inside:
                series.name = f"{series.name} {said}".strip()
            elif "cat" in inside or "xVal" in inside:
                if "lvl" in inside:
                    levels.setdefault(point, []).append(said)
                else:
                    series.categories[point] = _shown(said, code) if "numCache" in inside else said
            elif "val" in inside or "yVal" in inside:
                series.values[point] = _shown(said, code)
            elif "bubbleSize" in inside:
                series.sizes[point] = said
        elif name == "cat" and series is not None and levels:
            _join_levels(series, levels)
        elif name == "ser":
            series = None
    chart.axes = [axis for axis in chart.axes if axis]
    return chart


def _join_levels(series: _Series, levels: dict[int, list[str]]) -> None:
    """Join the names of groups and of what they hold; a group is named at its first point."""
    group: list[str] = []
    for point in sorted(levels):
        names = levels[point]
        group = names[1:] or group
        series.categories[point] = " ".join([*reversed(group), names[0]])


def _shown(value: str, code: str) -> str:
    try:
        return clean_line(show_number(float(value), code))
    except ValueError:
        return value


def _integer(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 9 else 0
