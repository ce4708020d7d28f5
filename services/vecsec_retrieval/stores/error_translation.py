"""Chroma's exceptions, turned into typed errors where they come in."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from chromadb.errors import (
    AuthorizationError,
    ChromaAuthError,
    ChromaError,
    InvalidArgumentError,
    NotFoundError,
    QuotaError,
    RateLimitError,
)

from vecsec_chassis.domain.errors import LimitExceeded, RetrievalUnavailable, StoreDamaged, VecSecError
from vecsec_retrieval.stores.causes import RETRY_SECONDS, cause_of
from vecsec_retrieval.stores.embedded.checked_rows import TornRow

_DISK_REFUSES = (
    *("(code: 13)", "disk is full", "no space left", "disk quota exceeded"),
    *("(code: 8)", "readonly database", "read-only file system"),
)
_REFUSED = "the disk of the vector store has no room left, or is read-only: nothing is stored until that is mended"
_TOO_MUCH_AT_ONCE = ("too many sql variables",)
_UNAUTHENTICATED_STATUSES = frozenset({401, 403})
_BUSY = (
    "(code: 5)",
    "(code: 6)",
    "database is locked",
    "(code: 14)",
    "unable to open database file",
)


@contextmanager
def embedded_errors(tenant_id: str, refusal: Callable[[], str | None], database: Path | None = None) -> Iterator[None]:
    """Around calls into the embedded store of one tenant, whose file this is; `refusal` says why its disk takes no
    writes, if it does not.

    A panic of its Rust core arrives as a BaseException of a class that cannot be imported; it means damage, too,
    unless it names something that the system refused.
    """
    try:
        yield
    except (NotFoundError, InvalidArgumentError):
        raise  # the first is handled by the caller, the second is a fault of ours
    except (ChromaError, OSError, sqlite3.Error, TornRow) as error:
        raise _embedded_error(tenant_id, error, refusal, database) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise _embedded_error(tenant_id, error, refusal, database) from error


@contextmanager
def remote_errors() -> Iterator[None]:
    """Around calls to a Chroma server."""
    try:
        yield
    except (NotFoundError, InvalidArgumentError):
        raise
    except (RateLimitError, QuotaError) as error:
        raise LimitExceeded(
            "the vector store refuses more for now", detail=str(error), retry_after=RETRY_SECONDS
        ) from error
    except (AuthorizationError, ChromaAuthError) as error:
        raise _key_refused(error) from error
    except ChromaError as error:
        if any(mark in str(error).lower() for mark in _DISK_REFUSES):
            raise LimitExceeded(_REFUSED, detail=str(error)) from error  # the server can still be read
        raise _unavailable(f"{type(error).__name__}: {error}; start the server, or correct its address") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _unavailable(f"{type(error).__name__}: {error}; start the server, or correct its address") from error
    except Exception as error:
        # The client raises bare exceptions for answers that are not Chroma's own, such as a proxy's 502.
        if type(error) is not Exception:
            raise
        answer = error.__context__
        if isinstance(answer, httpx.HTTPStatusError) and answer.response.status_code in _UNAUTHENTICATED_STATUSES:
            raise _key_refused(answer) from error
        raise _unavailable(f"unexpected answer: {error}; is this the address of a ChromaDB server?") from error


def damaged(tenant_id: str, detail: str) -> StoreDamaged:
    """The error of a cell that cannot be read."""
    return StoreDamaged(
        f"the store of tenant {tenant_id!r} is damaged and cannot be read; nothing was deleted; "
        "restore its directory from a backup",
        detail=detail,
    )


def _embedded_error(
    tenant_id: str, error: BaseException, refusal: Callable[[], str | None], database: Path | None
) -> VecSecError:
    text = str(error).lower()
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, TornRow) or type(error) is sqlite3.DatabaseError:
        return damaged(tenant_id, detail)  # whatever the disk is like
    refused = refusal()
    is_there = database is None or database.exists()  # SQLite calls a file "readonly" that was moved away
    if refused is not None or (is_there and any(mark in text for mark in _DISK_REFUSES)):
        return LimitExceeded(refused or _REFUSED, detail=detail)
    if any(mark in text for mark in _TOO_MUCH_AT_ONCE):
        return LimitExceeded("this asks too much of the vector store at once; narrow it down", detail=detail)
    cause = cause_of(error, database)
    if cause is not None:
        return cause
    if any(mark in text for mark in _BUSY):
        return _unavailable(detail)
    return damaged(tenant_id, detail)


def _key_refused(error: Exception) -> RetrievalUnavailable:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return _unavailable(f"the server refuses CHROMA_API_KEY ({reason}); set the right one")


def _unavailable(detail: str) -> RetrievalUnavailable:
    return RetrievalUnavailable("the vector store does not answer", detail=detail, retry_after=RETRY_SECONDS)
