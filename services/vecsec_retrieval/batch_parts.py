"""Puts batches together that come in parts: messages are small, for their sender is not known before they are read."""

import asyncio
from collections.abc import AsyncIterator

from vecsec.retrieval.v1 import retrieval_service_pb2 as pb
from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_retrieval.visibility.permissions import Permissions

_MOST_DOCUMENTS = 1000
"""As in the contract, also where a batch comes in parts."""


async def whole_batches(
    messages: AsyncIterator[pb.ImportDocumentsRequest], permissions: Permissions, max_bytes: int
) -> AsyncIterator[pb.ImportDocumentsRequest]:
    """The batches of an import. Nothing is kept of a part before the grant is known to be good.

    Raises:
        InvalidGrant: if the stream's grant does not verify, or is for something else.
        InvalidRequest: if a batch has more documents or bytes than one may have, or ends before its last part.
    """
    grant = ""
    whole: pb.ImportDocumentsRequest | None = None
    async for part in messages:
        grant = part.grant or grant
        if whole is None and not part.continues:
            yield part
            continue
        await permissions.require(grant, Action.WRITE)
        if whole is None:
            whole = part
        else:
            await asyncio.to_thread(whole.documents.extend, part.documents)
        _refuse_too_large(whole, max_bytes)
        if not part.continues:
            yield whole
            whole = None
    if whole is not None:
        raise InvalidRequest.of("continues", "is set in the last request: a part of the batch is missing")


def _refuse_too_large(batch: pb.ImportDocumentsRequest, max_bytes: int) -> None:
    if len(batch.documents) > _MOST_DOCUMENTS:
        raise InvalidRequest.of("documents", f"are more than the {_MOST_DOCUMENTS:,} of one batch")
    if (size := batch.ByteSize()) > max_bytes:
        raise InvalidRequest.of(
            "documents", f"are {size:,} bytes, more than the {max_bytes:,} of one batch; send fewer"
        )
