"""The demonstration of `vecsec up`: import the corpora once, then search as different callers."""

import time

from rich.console import Console

from vecsec_cli.demo import search_table
from vecsec_cli.demo.guided_searches import GUIDED_SEARCHES, GuidedSearch, administrator
from vecsec_cli.demo.loading import load
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal import output
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.service_errors import hint_for, message_of
from vecsec_client import PermissionDenied, VecSecError

_K = 5
_ADMIN_K = 30
"""How far the admin's list reaches to which callers' lists are compared."""


async def show_demonstration(state: StateDirectory, address: str) -> None:
    """Import and search. What goes wrong is told; the services stay up."""
    out = output.console()
    try:
        started = time.monotonic()
        stored = await load(state, address)
        seconds = time.monotonic() - started
        out.print(f"imported {stored:,} documents in {seconds:.0f} s" if stored else "the corpora are already imported")
        out.print()
        for number, search in enumerate(GUIDED_SEARCHES, start=1):
            await _show(out, number, search, state, address)
    except VecSecError as error:
        output.report_failure(f"the demonstration stopped: {message_of(error)}", hint_for(error))
    except CommandFailure as error:
        output.report_failure(f"the demonstration stopped: {error}", "")


async def _show(out: Console, number: int, search: GuidedSearch, state: StateDirectory, address: str) -> None:
    async with search.caller.connect(state, address) as client:
        try:
            answer = await client.search(search.query, tenant=search.tenant_id, k=_K, allow_mock=True)
        except PermissionDenied as error:
            out.print(search_table.refused(number, search, error))
            return
    everything = answer
    if answer.is_real:
        async with administrator(search.tenant_id).connect(state, address) as client:
            everything = await client.search(search.query, k=_ADMIN_K)
    rows = search_table.compare(search.caller, answer.results, everything.results)
    out.print(search_table.answered(number, search, answer, rows))
