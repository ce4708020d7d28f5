"""The progress bar of an import."""

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from vecsec_cli.terminal import output


class RateColumn(ProgressColumn):
    """How many documents a second."""

    def render(self, task: Task) -> Text:
        """The rate, once there is one."""
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.0f}/s", style="dim")


def progress_bar() -> Progress:
    """A bar on stderr; where that is no terminal, only the end of it is printed."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        console=output.console(to_stderr=True),
    )
