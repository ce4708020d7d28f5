"""Shows to health probes and to the gateways whether the audit log can be written."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from vecsec_chassis.background import running_in_background
from vecsec_chassis.rpc.server import Health
from vecsec_policy.audit.writer import AuditFile

AUDIT = "vecsec.policy.audit"
"""The name under which the health service says whether the audit log can be written."""


@asynccontextmanager
async def running_audit_health(
    audit_file: AuditFile, health: Health, offer_lanes: Callable[[bool], None], *, refuses: bool
) -> AsyncIterator[None]:
    """Keep the health entry up to date until the block ends.

    A service that refuses to decide while it cannot write is not serving as a whole then. Whatever it was told, it does
    not offer lanes to the gateways meanwhile, so that they use another replica if there is one.
    """
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    async def show() -> None:
        offering = True
        while True:
            changed.clear()
            recording = audit_file.is_recording()
            await health.set_serving(recording, AUDIT)
            if recording is not offering:
                offering = recording
                offer_lanes(offering)
            if refuses:
                await health.set_serving(recording)
            await changed.wait()

    def tell(_recording: bool) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(changed.set)

    audit_file.on_recording = tell
    async with running_in_background(show(), "show whether the audit log can be written"):
        yield
