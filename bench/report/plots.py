"""Figures drawn by matplotlib, as SVG to be put into a page.

Every server is told by its name at its mark, and by filling, hatch, marker and line besides colour: figures
are read as well where there is none. They are 360 units wide, so that their letters suit a phone. Their few
colours are handed to the page's style sheet, which knows of light and dark.
Must not know: what is in result files.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from .measures import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

__all__ = ["Bar", "Curve", "Mark", "Ratios", "bars", "curves", "ratios"]

_WIDTH = 5.0  # inches; of 72 units each
_INK, _ACCENT, _PEER, _RULE, _PAPER = "#101010", "#0b4f8a", "#c9ced6", "#d8dce2", "#fefefe"
_VARIABLES = {_INK: "ink", _ACCENT: "accent", _PEER: "peer", _RULE: "rule", _PAPER: "paper"}
_STYLE = {
    "svg.fonttype": "none",  # text stays text: searched, copied, and in the page's own font
    "font.size": 11,
    "font.family": "sans-serif",
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _INK,
    "axes.facecolor": "none",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "hatch.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Line and marker of the peers' curves, in turn.
_LINES = ("--", ":", "-.", (0, (6, 2)), (0, (1, 1)), (0, (4, 1, 1, 1, 1, 1)), "-")
_MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">", "h", "*", "p")
# What the backend writes and a page does without: size and fonts are the page's, groups need no names.
_SUPERFLUOUS = (
    (r"<metadata>.*?</metadata>", ""),
    (r"<style.*?</style>", ""),
    (r'(<svg [^>]*?)width="[^"]*" height="[^"]*"', r"\1"),
    (r'<g id="[^"]*"/>', ""),
    (r'<g id="[^"]*">', "<g>"),
    (r" font-family: [^;]*;", ""),
    (r' transform="rotate\(-0 [^"]*"', ""),
    (r"(\.\d\d)\d+", r"\1"),
    (r"\s+", " "),
    (r"> <", "><"),
)


@dataclass(frozen=True)
class Bar:
    """One server's figures, of one kind or of two; without any, `text` says why."""

    label: str
    role: str
    values: tuple[float, ...]
    least: float = 0.0
    greatest: float = 0.0
    text: str = ""


@dataclass(frozen=True)
class Mark:
    """A server's place on a line of ratios."""

    label: str
    role: str
    ratio: float


@dataclass(frozen=True)
class Ratios:
    """A line of marks; ours is 1."""

    label: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Curve:
    """One server's values over a rising load."""

    label: str
    role: str
    points: tuple[tuple[float, float], ...]


def bars(name: str, rows: Sequence[Bar], *, unit: str, kinds: Sequence[str] = ("",)) -> str:
    """Draw a horizontal bar for each row and kind, its value at its end; ranges only for a single kind."""
    depth = 0.3 if len(kinds) == 1 else 0.46
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(depth * len(rows) + (0.62 if len(kinds) == 1 else 0.95))
        greatest = max((value for row in rows for value in (*row.values, row.greatest)), default=1.0) or 1.0
        thick = 0.72 / len(kinds)
        for place, row in enumerate(rows):
            for kind, value in enumerate(row.values):
                y = place + (kind - (len(kinds) - 1) / 2) * thick
                axes.barh(y, value, height=thick * 0.94, **_filling(row.role, kind))
                end = max(value, row.greatest) if len(kinds) == 1 else value
                weight = "bold" if row.role == "ours" else "normal"
                axes.text(end + greatest * 0.02, y, number(value), va="center", fontweight=weight)
            if len(kinds) == 1 and row.greatest > row.least:
                axes.plot([row.least, row.greatest], [place, place], color=_INK, linewidth=1.2, marker="|")
            if not row.values:
                axes.text(greatest * 0.02, place, row.text, va="center", fontstyle="italic")
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        for label, row in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_fontweight("bold" if row.role == "ours" else "normal")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, greatest * 1.22)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.set_xlabel(unit)
        axes.tick_params(length=0)
        axes.grid(axis="x", color=_RULE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines["bottom"].set_visible(False)
        if len(kinds) > 1:
            handles = [
                mpl.patches.Patch(**_filling("peer", kind), label=title) for kind, title in enumerate(kinds)
            ]
            figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False)
        return _svg(figure, name)


def ratios(name: str, rows: Sequence[Ratios]) -> str:
    """Draw a line for each row, on it a mark for each server; the best and the last peer are named."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(0.6 * len(rows) + 0.75)
        every = [mark.ratio for row in rows for mark in row.marks] or [1.0]
        low, high = min(0.5, *every) * 0.7, max(2.0, *every) * 20
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.axvline(1.0, color=_ACCENT, linewidth=1.5, zorder=1)
        for place, row in enumerate(rows):
            axes.plot([low, high], [place, place], color=_RULE, linewidth=0.8, zorder=0)
            box = {"facecolor": _PAPER, "edgecolor": "none", "pad": 1.0}
            label = axes.text(low, place - 0.36, row.label, va="center", fontsize=9.5, bbox=box, zorder=2)
            # Else the axes shrink until the longest text fits beside its mark.
            label.set_in_layout(False)
            peers = sorted((mark for mark in row.marks if mark.role == "peer"), key=lambda mark: mark.ratio)
            for mark in row.marks:
                axes.plot(mark.ratio, place, **_mark(mark.role, best=bool(peers) and mark is peers[0]))
            for mark, (x, y) in zip(peers[-1:] + peers[: len(peers) > 1], ((8, 0), (0, -12)), strict=False):
                note = axes.annotate(
                    f"{mark.label} {number(mark.ratio)}",
                    (mark.ratio, place),
                    xytext=(x, y),
                    textcoords="offset points",
                    ha="left" if x else "center" if mark.ratio < 1 else "left",
                    va="center",
                    fontsize=10.5,
                    fontweight="bold" if mark.ratio < 1 else "normal",
                    bbox=box,
                    zorder=2,
                )
                note.set_in_layout(False)
        axes.set_ylim(len(rows) - 0.4, -0.75)
        axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5) if high / low < 100 else (1,)))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks([])
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.set_xlabel("times fastwsgi's CPU per request (logarithmic)")
        return _svg(figure, name)


def curves(name: str, lines: Sequence[Curve], *, unit: str, load: str, logarithmic: bool) -> str:
    """Draw a curve for each server over the load, which is logarithmic, its name at its end."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(3.9)
        axes.set_xscale("log")
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_minor_locator(NullLocator())
        peers = 0
        for line in lines:
            xs, ys = zip(*line.points, strict=True)
            if line.role == "ours":
                axes.plot(xs, ys, color=_ACCENT, linewidth=2.6, marker="o", markersize=6, zorder=3)
            else:
                axes.plot(
                    xs,
                    ys,
                    color=_INK,
                    linewidth=1.0,
                    linestyle=_LINES[peers % len(_LINES)],
                    marker=_MARKERS[peers % len(_MARKERS)],
                    markersize=5,
                    markerfacecolor=_PAPER,
                )
                peers += 1
        loads = sorted({x for line in lines for x, _ in line.points})
        axes.set_xlim(loads[0] / 1.1, loads[-1] * 1.1)
        axes.set_xticks(loads, [_short(x) for x in loads])
        axes.xaxis.set_minor_locator(NullLocator())
        if not logarithmic:
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(_short))
        axes.tick_params(length=0)
        axes.grid(color=_RULE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(load)
        axes.set_title(unit, loc="left", fontsize=11)
        _name_ends(axes, lines)
        return _svg(figure, name)


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    return figure, figure.subplots()


def _filling(role: str, kind: int) -> dict[str, object]:
    """Return how a bar is drawn: ours is dark, peers are light, the floor is only a hatch."""
    face = {"ours": _ACCENT, "floor": _PAPER}.get(role, _PEER)
    hatch = "xxxx" if role == "floor" else ""
    if kind:
        face, hatch = _PAPER, "/////"
    edge = _ACCENT if role == "ours" else _INK
    return {"facecolor": face, "hatch": hatch, "edgecolor": edge, "linewidth": 0.8}


def _mark(role: str, *, best: bool) -> dict[str, object]:
    if role == "ours":
        return {"marker": "o", "markersize": 9, "color": _ACCENT, "zorder": 4}
    if role == "floor":
        return {"marker": "|", "markersize": 13, "markeredgewidth": 2.2, "color": _INK}
    face = _INK if best else _PAPER
    marker = "D" if best else "o"
    return {"marker": marker, "markersize": 6, "color": _INK, "markerfacecolor": face, "zorder": 3}


def _name_ends(axes: Axes, lines: Sequence[Curve]) -> None:
    """Write each name right of the end of its curve, moved apart where they would lie on each other."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)

    def height(value: float) -> float:
        return float(axes.transAxes.inverted().transform(axes.transData.transform((1, value)))[1])

    ends = sorted(((height(line.points[-1][1]), line) for line in lines), key=lambda end: end[0])
    step, places = 0.062, [end for end, _ in ends]
    for _ in range(200):
        for i in range(len(places) - 1):
            lack = step - (places[i + 1] - places[i])
            if lack > 1e-9:
                places[i] -= lack / 2
                places[i + 1] += lack / 2
    for place, (_, line) in zip(places, ends, strict=True):
        axes.annotate(
            line.label,
            line.points[-1],
            xytext=(1.06, place),
            textcoords="axes fraction",
            va="center",
            fontsize=10,
            fontweight="bold" if line.role == "ours" else "normal",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": _INK, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 4},
        )


def _short(value: float, _place: int | None = None) -> str:
    """Write a tick in few letters: 120k, 2.5M."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element; its ids begin with `name`, since all of a page are in one room."""
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    for pattern, replacement in _SUPERFLUOUS:
        svg = re.sub(pattern, replacement, svg, flags=re.DOTALL)
    svg = re.sub(r'(?<= id=")|(?<=url\(#)|(?<=xlink:href="#)', f"{name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg
