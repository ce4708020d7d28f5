"""Commands that other installed packages add, as entry points of the group `vecsec.commands`, each a Typer app.

Those that come with VecSec need the packages of `vecsec[services]`, which an installation of the client alone lacks.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer

from vecsec_cli.terminal.failures import INSTALL_SERVICES, CommandFailure

_GROUP = "vecsec.commands"


def names() -> list[str]:
    """The names of the added commands, sorted."""
    return sorted(entry_points(group=_GROUP).names)


def find(name: str) -> Any:  # a Command of the Click that typer brings along, or None
    """The added command of this name; None if there is none.

    A command whose packages are not installed is found too, and says so when it is run.
    """
    found = entry_points(group=_GROUP, name=name)
    return _load(next(iter(found))) if found else None


def _load(entry_point: EntryPoint) -> Any:
    try:
        app = entry_point.load()
    except ModuleNotFoundError as error:
        app = _without_packages(entry_point.name, str(error.name))
    command = typer.main.get_command(app)
    command.name = entry_point.name
    return command


def _without_packages(command_name: str, module_name: str) -> typer.Typer:
    app = typer.Typer(name=command_name, add_completion=False)

    @app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
    def explain_what_is_missing() -> None:
        """(needs the services' packages, which are not installed)"""
        raise CommandFailure(
            f"`vecsec {command_name}` needs {module_name!r}, which is not installed",
            hint=INSTALL_SERVICES,
        )

    return app
