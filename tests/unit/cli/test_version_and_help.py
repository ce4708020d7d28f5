"""`vecsec --version`, and help by either name wherever somebody asks for it."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from typing import Any

import pytest
from support.cli_command import Command
from typer.main import get_command

import vecsec_client
from vecsec_cli.main import app
from vecsec_client.version import NOT_INSTALLED, installed_version


def commands(command: Any = None, *path: str) -> Iterator[tuple[str, ...]]:
    """The path of every command and group of commands, the root's included."""
    command = command or get_command(app)
    yield path
    for name, each in getattr(command, "commands", {}).items():
        yield from commands(each, *path, name)
    if not path:
        context = command.make_context("vecsec", [], resilient_parsing=True)
        for name in set(command.list_commands(context)) - set(command.commands):
            yield from commands(command.get_command(context, name), name)


ALL_COMMANDS = sorted(commands())


def test_the_walk_finds_commands_of_every_kind() -> None:
    assert {(), ("search",), ("flag", "set"), ("tenant", "reread"), ("audit", "verify"), ("panic",)} <= set(
        ALL_COMMANDS
    )
    assert ("policy", "promote") in ALL_COMMANDS


@pytest.mark.parametrize("path", ALL_COMMANDS, ids=" ".join)
def test_help_has_two_names_everywhere(path: tuple[str, ...]) -> None:
    vecsec = Command({})
    short = vecsec(*path, "-h")
    assert short.stdout == vecsec(*path, "--help").stdout
    assert " ".join(["Usage: vecsec", *path]) in short.stdout


def test_the_version_is_that_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert vecsec_client.__version__ == version("vecsec-client") == version("vecsec")
    assert Command({})("--version").stdout == f"vecsec {version('vecsec')}\n"

    def not_there(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("vecsec_client.version.version", not_there)
    assert installed_version() == NOT_INSTALLED


def test_where_the_client_alone_is_installed_added_commands_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def not_there(_entry_point: EntryPoint) -> object:
        raise ModuleNotFoundError(name="cedarpy")

    monkeypatch.setattr(EntryPoint, "load", not_there)
    vecsec = Command({})
    for arguments in (["-h"], ["policy", "-h"]):
        assert "(needs the services' packages, which are not installed)" in vecsec(*arguments).stdout
    refused = vecsec("policy", "check", "folder", exit_code=2).stderr
    assert "error: `vecsec policy` needs 'cedarpy', which is not installed" in refused
    assert "pip install ./clients/vecsec-client '.[services]'" in refused
