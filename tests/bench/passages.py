"""Passages that VecSec embeds itself, unlike a `Tenant`'s: what the measurements of cells import."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import service_pids
from bench.secured import Secured
from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.type.v1 import document_pb2, sensitivity_pb2


@dataclass(frozen=True)
class Passage:
    """A document to import."""

    document_id: str
    text: str
    level: int
    """Its sensitivity, numbered as in `vecsec.type.v1.Sensitivity`."""
    topic: str = "bench"


def add(ours: Secured, tenant_id: str, batches: Iterable[Sequence[Passage]]) -> Iterator[int]:
    """Import batch after batch; yields how many passages each stored once it is durable."""
    return ours.import_requests(tenant_id, (_request(tenant_id, batch) for batch in batches))


def resident_mebibytes(ours: Secured) -> float:
    """Memory that the retrieval process has in use, as the kernel counts it."""
    pages = int(Path(f"/proc/{_retrieval(ours)}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files(ours: Secured) -> int:
    """File descriptors that the retrieval process holds."""
    return sum(1 for _ in Path(f"/proc/{_retrieval(ours)}/fd").iterdir())


def _retrieval(ours: Secured) -> int:
    return service_pids(ours.installation)["retrieval"]


def _request(tenant_id: str, batch: Sequence[Passage]) -> gateway_service_pb2.ImportDocumentsRequest:
    return gateway_service_pb2.ImportDocumentsRequest(
        tenant_id=tenant_id,
        embedding_model="wordllama",
        documents=[
            document_pb2.DocumentInput(
                document_id=each.document_id,
                text=each.text,
                sensitivity=sensitivity_pb2.Sensitivity.ValueType(each.level),
                topics=[each.topic],
            )
            for each in batch
        ],
    )
