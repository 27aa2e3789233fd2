"""Plots of measurements as small SVG files in docs/plots, readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent.parent / "docs" / "plots"
_WIDTH, _HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 44, 56
_INNER_WIDTH, _INNER_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_COLOURS = ("#2f6fb2", "#c46a1b", "#4b8f4b", "#8a5aa8")
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_SHARES = (0, 50, 90, 99, 99.9)


class Plot(Protocol):
    """Something to draw: a title, and the lines of SVG below it."""

    @property
    def title(self) -> str:
        """What is shown."""

    def draw(self) -> Iterator[str]:
        """Axes and data."""


@dataclass(frozen=True)
class Bars:
    """One bar for each measured thing, and a line at what was asked."""

    title: str
    unit: str
    bars: Sequence[tuple[str, float]]
    aim: float

    def draw(self) -> Iterator[str]:
        """Axes and data."""
        ticks = _ticks(max(self.aim, *(value for _, value in self.bars)))
        yield from _vertical_axis(self.unit, [(f"{tick:g}", tick / ticks[-1]) for tick in ticks])
        slot = _INNER_WIDTH / len(self.bars)
        for number, (name, value) in enumerate(self.bars):
            x, height = _LEFT + slot * (number + 0.25), _INNER_HEIGHT * value / ticks[-1]
            y = _TOP + _INNER_HEIGHT - height
            yield f'<rect x="{x:.1f}" y="{y:.1f}" width="{slot / 2:.1f}" height="{height:.1f}" fill="{_COLOURS[0]}"/>'
            yield _text(x + slot / 4, y - 6, f"{value:.3g}", "middle")
            yield _text(x + slot / 4, _TOP + _INNER_HEIGHT + 20, name, "middle")
        y = _TOP + _INNER_HEIGHT * (1 - self.aim / ticks[-1])
        yield _line(_LEFT, y, _WIDTH - _RIGHT, y, "#b03030", dashed=True)
        yield _text(_WIDTH - _RIGHT, y - 5, f"aim {self.aim:.3g}", "end")


@dataclass(frozen=True)
class Shares:
    """How large a share of the samples took at most how long, on an axis that spreads out the slowest ones."""

    title: str
    samples_ms: Mapping[str, Sequence[float]]
    aims: Sequence[tuple[float, float]] = field(default=())
    """`(percent, milliseconds)` that was asked."""

    def draw(self) -> Iterator[str]:
        """Axes and data."""
        curves = {name: _curve(samples) for name, samples in self.samples_ms.items()}
        longest = max(ms for points in (*curves.values(), self.aims) for _, ms in points)
        ticks = _ticks(longest)
        yield from _vertical_axis("delay (ms)", [(f"{tick:g}", tick / ticks[-1]) for tick in ticks])
        for percent in _SHARES:
            yield _text(_share_x(percent), _TOP + _INNER_HEIGHT + 20, f"{percent:g} %", "middle")
        yield _text(_LEFT + _INNER_WIDTH / 2, _HEIGHT - 12, "share of the lines that took no longer", "middle")
        for number, (name, points) in enumerate(curves.items()):
            path = " ".join(f"{_share_x(percent):.1f},{_height_y(ms / ticks[-1]):.1f}" for percent, ms in points)
            yield f'<polyline points="{path}" fill="none" stroke="{_COLOURS[number]}" stroke-width="2"/>'
            yield _text(_LEFT + 12, _TOP + 16 + 18 * number, name, colour=_COLOURS[number])
        for percent, ms in self.aims:
            x, y = _share_x(percent), _height_y(ms / ticks[-1])
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#b03030"/>'
            yield _text(x - 8, y - 6, f"aim: {percent:g} % within {ms:g} ms", "end")


def save(name: str, plot: Plot) -> None:
    """Write `docs/plots/<name>.svg`."""
    FOLDER.mkdir(exist_ok=True)
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="13"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    background = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>'
    title = f'<text x="{_LEFT}" y="24" font-size="15" font-weight="bold" fill="#222">{escape(plot.title)}</text>'
    (FOLDER / f"{name}.svg").write_text("\n".join((head, background, title, *plot.draw(), "</svg>\n")))


def _curve(samples: Sequence[float]) -> list[tuple[float, float]]:
    ordered = sorted(samples)
    shares = [100 - 100 * 10 ** (-step / 25) for step in range(76)]
    return [(share, ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]) for share in shares]


def _share_x(percent: float) -> float:
    return _LEFT + _INNER_WIDTH * -math.log10(1 - percent / 100) / 3


def _height_y(share: float) -> float:
    return _TOP + _INNER_HEIGHT * (1 - share)


def _ticks(largest: float) -> list[float]:
    """Round numbers from 0 to beyond `largest`."""
    magnitude = 10 ** math.floor(math.log10(largest / 4))
    step = next(factor * magnitude for factor in _STEPS if factor * magnitude * 5 >= largest * 1.1)
    return [step * number for number in range(math.ceil(largest * 1.1 / step) + 1)]


def _vertical_axis(unit: str, ticks: Sequence[tuple[str, float]]) -> Iterator[str]:
    for label, share in ticks:
        y = _height_y(share)
        yield _line(_LEFT, y, _WIDTH - _RIGHT, y, "#dddddd")
        yield _text(_LEFT - 8, y + 4, label, "end")
    middle = _TOP + _INNER_HEIGHT / 2
    yield (
        f'<text x="18" y="{middle}" text-anchor="middle" fill="#222" transform="rotate(-90 18 {middle})">'
        f"{escape(unit)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="6 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dashes}/>'


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
