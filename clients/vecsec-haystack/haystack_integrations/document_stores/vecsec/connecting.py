"""The connection of a store, from settings that Haystack can write down."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from haystack.utils import Secret

from haystack_integrations.document_stores.vecsec.tokens import provider_of
from vecsec_client import AsyncVecSecClient, VecSecClient
from vecsec_client.frameworks.steps import Clients


def connected(token: Secret | None, settings: Mapping[str, Any]) -> Clients:
    """The clients of a store; nothing is called.

    Raises:
        ValueError: for certificates that do not fit together.
        OSError: if a file cannot be read.
    """
    given: dict[str, Any] = {
        "token": None if token is None else provider_of(token),
        "default_tenant": settings["tenant"],
        "timeout": settings["timeout"],
        "plaintext": settings["plaintext"],
    }
    for name in ("root_certificates", "client_certificate", "client_key"):
        given[name] = None if settings[name] is None else Path(settings[name])
    return Clients(VecSecClient(settings["address"], **given), AsyncVecSecClient(settings["address"], **given))
