"""The remote store: a Chroma server, with a database per tenant."""

import logging
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx
from chromadb.api.fastapi import FastAPI
from chromadb.config import DEFAULT_TENANT, Settings, System
from chromadb.errors import ChromaError, NotFoundError

from vecsec_chassis.domain.errors import ConfigurationError, LimitExceeded, RetrievalUnavailable
from vecsec_chassis.domain.identifiers import is_tenant_id
from vecsec_retrieval.model.rows import StoredRow
from vecsec_retrieval.stores.chroma_collections import ChromaCell
from vecsec_retrieval.stores.error_translation import remote_errors
from vecsec_retrieval.stores.whole_metadata import with_whole_metadata

ANSWER_TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 2.0
_DATABASE_PREFIX = "vecsec-"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_URL_ADVICE = "write http://host:port or https://host:port"


class TimedFastAPI(FastAPI):
    """Chroma's HTTP client, which by itself waits for ever and never closes its connections."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._session.timeout = httpx.Timeout(ANSWER_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)

    def close_connections(self) -> None:
        """Close the connections to the server."""
        self._session.close()


class RemoteCell(ChromaCell):
    """A cell that others may write to as well."""

    def upsert(self, collection_id: str, rows: Sequence[StoredRow], deleted: Sequence[str] = ()) -> int:
        return super().upsert(collection_id, [with_whole_metadata(row) for row in rows], deleted)


class RemoteCellStore:
    """Cells as databases of one Chroma server; see `vecsec_retrieval.model.store.CellStore`."""

    kind = "remote"
    has_other_writers = True

    def __init__(self, url: str, *, api_key: str | None = None, chroma_tenant: str = DEFAULT_TENANT) -> None:
        """Prepare to talk to the server; whether it answers is the heartbeat's to say.

        Raises:
            ConfigurationError: if the URL is not one of a server.
        """
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log a line for each request
        try:
            self._location, settings = client_settings(url, api_key)
        except ValueError as error:
            raise ConfigurationError(f"CHROMA_CONNECTION_STRING: {error}") from error
        self._has_key = bool(api_key)
        self._chroma_tenant = chroma_tenant
        self._system = System(settings)
        self._api = self._system.instance(TimedFastAPI)
        self._system.start()

    @property
    def location(self) -> str:
        return self._location

    def open(self, tenant_id: str, *, create: bool) -> RemoteCell | None:
        if not is_tenant_id(tenant_id):
            raise ValueError(f"not a tenant id: {tenant_id!r}")
        database = _DATABASE_PREFIX + tenant_id
        with remote_errors():
            if not self._has_database(database):
                if not create:
                    return None
                self._create_database(database)
        return RemoteCell(
            self._api,
            tenant_id=tenant_id,
            chroma_tenant=self._chroma_tenant,
            database=database,
            translated=remote_errors,
            on_close=_keep_client_open,
        )

    def heartbeat(self) -> None:
        try:
            with remote_errors():
                self._api.heartbeat()
                if self._has_key:
                    self._api.get_user_identity()  # a heartbeat alone asks nobody who he is
        except RetrievalUnavailable as error:
            error.detail = f"CHROMA_CONNECTION_STRING={self._location}: {error.detail}"
            raise
        except (LimitExceeded, NotFoundError, TypeError):
            """It answers, if only in words of another version; what it refuses is told to those whom it concerns."""

    def refusal(self) -> str | None:
        return None  # the server itself knows how much room it has

    def close(self) -> None:
        self._system.stop()
        self._api.close_connections()

    def _has_database(self, database: str) -> bool:
        try:
            self._api.get_database(database, tenant=self._chroma_tenant)
        except NotFoundError:
            return False
        return True

    def _create_database(self, database: str) -> None:
        try:
            self._api.create_database(database, tenant=self._chroma_tenant)
        except ChromaError:
            if not self._has_database(database):  # otherwise another writer was faster
                raise


def client_settings(url: str, api_key: str | None) -> tuple[str, Settings]:
    """The server's address, and the settings of a client for it.

    Raises:
        ValueError: if the URL is not one of a server; says how to write one.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{error}; {_URL_ADVICE}") from error
    if parts.scheme not in _DEFAULT_PORTS or not host or parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(f"not the address of a server; {_URL_ADVICE}")
    port = port or _DEFAULT_PORTS[parts.scheme]
    settings = Settings(
        anonymized_telemetry=False,
        chroma_server_host=f"[{host}]" if ":" in host else host,
        chroma_server_http_port=port,
        chroma_server_ssl_enabled=parts.scheme == "https",
        chroma_server_headers={"x-chroma-token": api_key} if api_key else {},
    )
    return f"{parts.scheme}://{host}:{port}", settings


def _keep_client_open() -> None:
    """All cells share one client, which the store closes."""
