"""`vecsec token`: a token of the development issuer."""

from typing import Annotated

import typer

from vecsec_cli import development_issuer, output
from vecsec_cli.options import JsonOption, StateDirectoryOption, TenantOption, state_directory
from vecsec_client import Sensitivity

_LONGEST_LIFETIME_SECONDS = 30 * 24 * 3600


def token(
    *,
    tenant: TenantOption,
    role: Annotated[str, typer.Option(help="The role: guest, analyst, superuser, admin, or one of your policy's own.")],
    clearance: Annotated[Sensitivity, typer.Option(case_sensitive=False, help="The clearance that the token claims.")],
    subject: Annotated[str, typer.Option(help="Who the token is for.")],
    lifetime: Annotated[
        int, typer.Option(min=1, max=_LONGEST_LIFETIME_SECONDS, help="Seconds until it expires.")
    ] = 3600,
    state_dir: StateDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Mint a token that the services of this state directory accept; for development."""
    minted = development_issuer.mint_token(
        state_directory(state_dir),
        subject=subject,
        tenant_id=tenant,
        role=role,
        clearance=clearance.value,
        lifetime_seconds=lifetime,
    )
    if json:
        output.print_json({"token": minted, "expires_in_seconds": lifetime})
    else:
        typer.echo(minted)
