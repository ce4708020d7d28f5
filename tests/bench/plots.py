"""Draws plots as small PNGs."""

from pathlib import Path

import matplotlib as mpl

from bench.findings import Plot

mpl.use("agg")

from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, LogLocator

_COLOURS = ("#0b6e4f", "#c1440e", "#3d5a80", "#8d6a9f", "#7a7a7a", "#b8860b")
_LEGEND_CHARACTERS = 90
"""As many fit into one line."""
_MARKERS = ("o", "s", "^", "D", "v", "P")


def draw(plot: Plot, file: Path) -> None:
    """Write the plot to a PNG file."""
    figure, axes = pyplot.subplots(figsize=(7.2, 4.2), dpi=110, layout="constrained")
    for line, colour, marker in zip(plot.lines, _COLOURS, _MARKERS, strict=False):
        axes.plot(line.x, line.y, label=line.label, color=colour, marker=marker, markersize=5, linewidth=1.8)
    axes.set_xscale("linear" if plot.x_is_linear else "log")
    axes.set_yscale("linear" if plot.y_is_linear else "log")
    axes.margins(y=0.12)
    if plot.x_is_linear:
        axes.set_xlim(left=0)
    else:
        axes.set_xticks(sorted({x for line in plot.lines for x in line.x}))
    axes.xaxis.set_major_formatter(FuncFormatter(_percent if plot.is_share else _plain))
    if plot.y_is_linear:
        axes.set_ylim(bottom=0)
    else:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.minorticks_off()
    if plot.is_share:
        axes.invert_xaxis()
    axes.set_title(plot.title, fontsize=11, loc="left")
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.grid(which="major", color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    labels = "".join(line.label for line in plot.lines)
    columns = len(plot.lines) if len(labels) < _LEGEND_CHARACTERS else 1
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    figure.savefig(file, metadata={"Software": None})
    pyplot.close(figure)


def _plain(value: float, _position: int | None = None) -> str:
    return f"{value:,.10g}"


def _percent(value: float, _position: int | None = None) -> str:
    return f"{value * 100:.10g} %"
