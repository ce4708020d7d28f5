"""What a section measured: figures with their goals, tables and plots; and the section itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One figure and what it is to be."""

    what: str
    measured: float
    unit: str
    goal: float | None = None
    """At most so much; None where no upper bound is set."""
    at_least: float | None = None
    """At least so much; None where no lower bound is set."""

    @property
    def is_reached(self) -> bool:
        """Whether the figure, unrounded, keeps its bounds."""
        return (self.goal is None or self.measured <= self.goal) and (
            self.at_least is None or self.measured >= self.at_least
        )

    @property
    def verdict(self) -> str:
        if self.goal is None and self.at_least is None:
            return ""
        return "reached" if self.is_reached else "**not reached**"

    @property
    def wanted(self) -> str:
        """The goal in words."""
        bounds = [("≤", self.goal), ("≥", self.at_least)]
        return " and ".join(f"{sign} {self.shown(bound)}" for sign, bound in bounds if bound is not None)

    def shown(self, value: float) -> str:
        """A value with the figure's unit, three digits of it."""
        number = f"{value:,.3g}" if abs(value) < 1_000 else f"{value:,.0f}"
        return f"{number} {self.unit}".rstrip()


@dataclass(frozen=True)
class Table:
    """Rows of text below a line of headings; the first column is named, the others are figures."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Line:
    """One line of a plot: the same points in x and y, in order."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Plot:
    """A drawing of lines, by default with logarithmic axes."""

    name: str
    """Of its file, after the section's and without ending."""
    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    is_share: bool = False
    """Whether x is a share, shown in percent and falling from left to right."""
    x_is_linear: bool = False
    y_is_linear: bool = False
    """Whether both begin at 0, instead of growing by factors."""


@dataclass(frozen=True)
class Findings:
    """What a section found."""

    introduction: str
    figures: Sequence[Figure]
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    remarks: str = ""
    """Shown below tables and figures: what a reader must know to read them."""
    details: Mapping[str, object] = field(default_factory=dict)
    """Kept in the JSON alone."""


@dataclass(frozen=True)
class Task:
    """What a section is told of the run that it is a part of."""

    is_quick: bool
    data: Path
    """Where data is loaded: gone after the run, unless it was told to keep it."""
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Numbers that this run sets otherwise, by name."""

    def number(self, name: str, *, full: int, quick: int) -> int:
        """How many of something a run of this size has, unless it was told otherwise."""
        return self.numbers.get(name, quick if self.is_quick else full)

    def folder(self, name: str) -> Path:
        """A folder for data of this name, with what an earlier section, or an earlier run that kept it, put there."""
        folder = self.data / (f"{name}-quick" if self.is_quick else name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass(frozen=True)
class Section:
    """One part of the benchmark. Its name is that of its JSON and of its section in docs/performance/results.md."""

    name: str
    measure: Callable[[Task], Findings]
    in_quick: bool = False
    """Whether it belongs to `make bench-quick`, where it has to be done within seconds."""
