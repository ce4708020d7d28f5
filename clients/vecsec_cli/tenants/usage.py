"""`vecsec tenant usage`: what tenants use of what they may."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.terminal import output
from vecsec_cli.terminal.json_shapes import fields_of
from vecsec_cli.terminal.text import plain
from vecsec_client import TenantUsage

_NEAR_PERCENT = 80.0
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_UNKNOWN = "-"

_Used = tuple[str, str, float | None, float]
"""What, the field of the limit, how much is used (None: nobody knows), and how much may be here."""


@with_gateway
def usage(
    session: GatewaySession,
    *,
    tenant: Annotated[
        list[str], typer.Option("--tenant", help="The tenant; never guessed from the token. May be repeated.")
    ],
) -> None:
    """What tenants use of what tenants.yaml lets them, with a warning from 80 % on; for roles that may configure.

    Rows and bytes are what is stored. Searches and calls are those through the gateway that answers, in the last ten
    seconds; where several gateways share a limit, its part of it is shown.
    """
    told = {each: session.client.tenant_usage(tenant=each) for each in tenant}
    if session.json:
        output.print_json({"tenants": [{"tenant_id": each, **fields_of(found)} for each, found in told.items()]})
        return
    rows = [_cells(each, *used) for each, found in told.items() for used in _used(found)]
    headings = ("tenant", "what", output.right("now"), output.right("limit"), output.right("used"))
    output.print_table(*headings, rows=rows)
    for each, found in told.items():
        if found.refused_count:
            output.note(f"{each}: {found.refused_count:,} calls were refused for a limit in the last ten seconds")
        near = [
            what for what, _, now, limit in _used(found) if now is not None and _percent(now, limit) >= _NEAR_PERCENT
        ]
        if near:
            output.note(f"{each} uses 80 % or more of: {', '.join(near)}")


def _used(found: TenantUsage) -> Iterator[_Used]:
    limits, replicas = found.limits, found.gateway_replicas
    yield "rows", "rows", found.rows, limits["rows"]
    yield "bytes", "bytes", found.bytes, limits["bytes"]
    searches = limits["searches_per_second"] / replicas
    yield "searches a second", "searches_per_second", found.searches_per_second, searches
    calls = max(limits["concurrent_calls"] // replicas, 1)
    yield "calls at once", "concurrent_calls", found.concurrent_calls, calls
    imported = limits["import_rows_per_second"]
    yield "rows imported a second", "import_rows_per_second", found.import_rows_per_second, imported


def _cells(tenant: str, what: str, field: str, now: float | None, limit: float) -> tuple[str | Text, ...]:
    if now is None:
        return tenant, what, _UNKNOWN, _amount(field, limit), _UNKNOWN
    percent = _percent(now, limit)
    style = "bold red" if percent >= 100 else "yellow" if percent >= _NEAR_PERCENT else ""
    return tenant, what, _amount(field, now), _amount(field, limit), plain(f"{percent:.0f} %", style)


def _percent(now: float, limit: float) -> float:
    return 100 * now / limit


def _amount(field: str, number: float) -> str:
    if field != "bytes":
        return f"{number:,.1f}".removesuffix(".0")
    for unit in _UNITS[:-1]:
        if number < 1024:
            return f"{number:,.1f} {unit}".replace(".0 ", " ")
        number /= 1024
    return f"{number:,.1f} {_UNITS[-1]}".replace(".0 ", " ")
