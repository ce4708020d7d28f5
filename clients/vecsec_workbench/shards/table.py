"""`vecsec shards` as a table, and as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.placement.placement import Placement
from vecsec_chassis.placement.placement_file import load_placement
from vecsec_cli.local.service_settings import operator_settings
from vecsec_cli.options import JsonOption, StateDirectoryOption, state_directory
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.json_shapes import fields_of
from vecsec_cli.terminal.text import plain
from vecsec_workbench.shards.asking import ShardStatus, ask_all

_SETTING = "VECSEC_PLACEMENT_FILE"
_NO_SHARDS = "start with `vecsec up --shards 2`, or name the services' placement with --placement"


def shards(
    *,
    placement: Annotated[
        Path | None,
        typer.Option(
            "--placement",
            envvar=_SETTING,
            help="The placement file that the services read. Default: that of `vecsec up --shards`.",
            show_default=False,
        ),
    ] = None,
    state_dir: StateDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Show the shards of retrieval: where each is, whether it answers, and how many tenants, rows and bytes it holds.

    Run it where the shards' addresses can be reached; with TLS set it shows the services' certificate.
    Exit code 1 means that a shard does not answer, or is not what the placement says.
    """
    file = placement or state_directory(state_dir).placement_file
    found = _read(file)
    statuses = ask_all(found, operator_settings())
    if json:
        shapes = [fields_of(each) for each in statuses]
        output.print_json({"file": file, "epoch": found.epoch, "pinned": len(found.pinned), "shards": shapes})
    else:
        _print(file, found, statuses)
    if any(each.problem for each in statuses):
        raise typer.Exit(ExitCode.SOME_FAILED)


def _read(file: Path) -> Placement:
    if not file.exists():
        raise CommandFailure(
            f"there is no placement file {file}: one retrieval service has all tenants", hint=_NO_SHARDS
        )
    try:
        return load_placement(file)
    except ConfigurationError as error:
        raise CommandFailure(str(error), exit_code=ExitCode.INVALID) from error


def _print(file: Path, placement: Placement, statuses: Sequence[ShardStatus]) -> None:
    output.print_table(
        "shard",
        output.folded("address"),
        output.folded("reachable"),
        output.right("tenants"),
        output.right("to move"),
        output.right("rows"),
        output.right("bytes"),
        rows=[
            (
                each.shard,
                each.address,
                plain(each.problem or "yes", "bold red" if each.problem else ""),
                *(f"{number:,}" for number in (each.tenants, each.displaced, each.rows, each.bytes)),
            )
            for each in statuses
        ],
    )
    pinned = f"{len(placement.pinned)} pinned {'tenant' if len(placement.pinned) == 1 else 'tenants'}"
    output.say(f"placement {file}, epoch {placement.epoch}, {pinned}")
    displaced = sum(each.displaced for each in statuses)
    if displaced:
        are = "tenant is" if displaced == 1 else "tenants are"
        output.say(f"{displaced} {are} answered where they are until they are moved to the shard that is to have them")
