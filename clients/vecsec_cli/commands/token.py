"""`vecsec token`: a token of the development issuer."""

import getpass
from typing import Annotated

import typer

from vecsec_cli.local import development_issuer
from vecsec_cli.options import JsonOption, StateDirectoryOption, TenantOption, state_directory
from vecsec_cli.terminal import output
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_client import Sensitivity

_LONGEST_LIFETIME_SECONDS = 30 * 24 * 3600


def token(
    *,
    tenant: TenantOption,
    role: Annotated[str, typer.Option(help="The role: guest, analyst, superuser, admin, or one of your policy's own.")],
    clearance: Annotated[Sensitivity, typer.Option(case_sensitive=False, help="The clearance that the token claims.")],
    subject: Annotated[
        str, typer.Option(help="Who the token is for. Default: your user name on this machine.", show_default=False)
    ] = "",
    group: Annotated[
        list[str] | None, typer.Option("--group", help="A group that the caller is in; may be repeated.")
    ] = None,
    lifetime: Annotated[
        int, typer.Option(min=1, max=_LONGEST_LIFETIME_SECONDS, help="Seconds until it expires.")
    ] = 3600,
    state_dir: StateDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Mint a token that the services of this state directory accept; for development.

    `vecsec token inspect TOKEN` says how one is read.
    """
    minted = development_issuer.mint_token(
        state_directory(state_dir),
        subject=subject or _user_name(),
        tenant_id=tenant,
        role=role,
        clearance=clearance.value,
        lifetime_seconds=lifetime,
        groups=group or (),
    )
    if json:
        output.print_json({"token": minted, "expires_in_seconds": lifetime})
    else:
        typer.echo(minted)


def _user_name() -> str:
    """Who types, as the machine knows them: the one person for whom a token may be made without a word.

    Raises:
        CommandFailure: if the machine does not know, as in a container with a user id of its own.
    """
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError) as error:  # KeyError: before Python 3.13
        raise CommandFailure(
            "this machine has no name for its user", hint="say who the token is for: --subject NAME"
        ) from error
