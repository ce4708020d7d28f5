"""Tells the supervisor that started a service how that stands, if it asked for it: systemd's notification protocol."""

import os
import socket

import structlog

log = structlog.get_logger()

READY = "READY=1"
STOPPING = "STOPPING=1"


def notify(state: str) -> None:
    """Send a state to the socket that `NOTIFY_SOCKET` names; without one, nobody asked.

    A supervisor that does not listen ends nothing: it decides itself what to do about a service that says nothing.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # in Linux's abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), address)
    except OSError as error:
        log.warning("The supervisor could not be told", state=state, reason=str(error))
