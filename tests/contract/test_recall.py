"""Searching inside the store against brute force: what is found, with labels and filters of every selectivity."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import closing

import numpy as np
import pytest
from opentelemetry.metrics import NoOpMeter
from unit.retrieval.worlds import eyes, up_to

from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_retrieval.metrics import RetrievalMetrics
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.model.filters import Equals, MetadataFilter, Range, of_document
from vecsec_retrieval.model.rows import CollectionInfo, Document
from vecsec_retrieval.model.store import CellStore
from vecsec_retrieval.search.label_catalogue import LabelCatalogue
from vecsec_retrieval.search.reader import SearchOrder
from vecsec_retrieval.search.store_reader import StoreReader
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.visibility.tagging import to_stored

DIMENSIONS = 24
ROWS = 1_500
K = 10
ENOUGH_RECALL = 0.9


def documents(tenant_id: str) -> list[Document]:
    random = np.random.default_rng(3)
    shares = [0.02, 0.10, 0.38, 0.50]
    sensitivities = random.choice(np.array(Sensitivity), ROWS, p=shares)
    return [
        Document(
            f"d{number}",
            f"text {number}",
            Label(tenant_id, Sensitivity(int(sensitivity)), frozenset({"a"})),
            {"number": number, "even": number % 2 == 0},
            random.standard_normal(DIMENSIONS).astype(np.float32),
        )
        for number, sensitivity in enumerate(sensitivities)
    ]


@pytest.fixture
async def filled(open_store: Callable[[], CellStore]) -> AsyncIterator[tuple[StoreReader, list[Document]]]:
    tenant_id = f"t{uuid.uuid4().hex[:12]}"
    metrics = RetrievalMetrics(NoOpMeter("test"))
    with closing(open_store()) as store, closing(StoreThreads(2, metrics.record_store_call)) as threads:
        cell = store.open(tenant_id, create=True)
        assert cell is not None
        with closing(cell):
            stored = documents(tenant_id)
            cell.create_collection(CollectionInfo("documents", "external", DIMENSIONS))
            catalogue = LabelCatalogue(cell, "documents", threads, has_other_writers=True)
            catalogue.store(catalogue.missing_entries(stored))
            for start in range(0, ROWS, 500):
                cell.upsert("documents", [to_stored(each) for each in stored[start : start + 500]])
            yield StoreReader(cell, "documents", catalogue=catalogue, threads=threads, metrics=metrics), stored


CONDITIONS: list[MetadataFilter | None] = [None, Equals("even", True), Range("number", at_least=100, less_than=115.5)]


async def test_k_are_found_if_k_exist_and_nearly_all_of_the_nearest(filled: tuple[StoreReader, list[Document]]) -> None:
    reader, stored = filled
    random = np.random.default_rng(5)
    hits = wanted = 0
    for clearance in Sensitivity:
        for condition in CONDITIONS:
            holds = of_document(condition)
            matching = [
                each
                for each in stored
                if each.label.sensitivity and each.label.sensitivity <= clearance and holds(each)
            ]
            for _ in range(3):
                query = direction(random.standard_normal(DIMENSIONS).astype(np.float32))
                answer = await reader.search(SearchOrder(query, K, condition), eyes(up_to(clearance)))
                found = [each.document.document_id for each in answer.results]
                assert len(found) == min(K, len(matching))
                assert set(found) <= {each.document_id for each in matching}
                scores = {each.document_id: cosine(each, query) for each in matching}
                nearest = sorted(scores, key=lambda name: (-scores[name], name))[:K]
                hits, wanted = hits + len(set(found) & set(nearest)), wanted + len(nearest)
                np.testing.assert_allclose(
                    [each.score for each in answer.results], [scores[name] for name in found], atol=1e-5
                )
    assert hits / wanted >= ENOUGH_RECALL


def cosine(document: Document, query: np.ndarray) -> float:
    assert document.embedding is not None
    return float(document.embedding @ query / np.linalg.norm(document.embedding) / np.linalg.norm(query))
