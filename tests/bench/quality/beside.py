"""What VecSec's answers are compared with: the plainest BM25, and bare ChromaDB as one gets it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import chromadb
from chromadb.config import Settings
from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2

from bench.quality.bm25 import Bm25, best, plain_words
from bench.quality.corpora import Passage
from bench.quality.measuring import DEPTH
from bench.quality.questions import Question

Corpora: TypeAlias = Mapping[str, Sequence[Passage]]
Answering: TypeAlias = Callable[[Question], list[str]]
"""The ids of passages, best first."""


def plain_bm25(corpora: Corpora) -> Answering:
    """BM25 with its usual constants over words in lower case."""
    indexes = {name: Bm25([plain_words(each.text) for each in passages]) for name, passages in corpora.items()}

    def answer(question: Question) -> list[str]:
        scores = indexes[question.corpus].scores(plain_words(question.text), saturation=1.2, normalisation=0.75)
        passages = corpora[question.corpus]
        return [passages[number].passage_id for number in best(scores, DEPTH)]

    return answer


def has_chromas_model() -> bool:
    """Whether Chroma's own default model, which it downloads when it is first used, lies on this machine."""
    folder = ONNXMiniLM_L6_V2.DOWNLOAD_PATH / ONNXMiniLM_L6_V2.EXTRACTED_FOLDER_NAME
    return (folder / "model.onnx").exists()


def bare_chroma(corpora: Corpora) -> Answering:
    """ChromaDB with nothing set: its own embedding function, its own distance."""
    client = chromadb.EphemeralClient(settings=Settings(anonymized_telemetry=False))
    collections = {name: client.create_collection(name) for name in corpora}
    for name, passages in corpora.items():
        for start in range(0, len(passages), 500):
            batch = passages[start : start + 500]
            collections[name].add(ids=[each.passage_id for each in batch], documents=[each.text for each in batch])

    def answer(question: Question) -> list[str]:
        found = collections[question.corpus].query(query_texts=[question.text], n_results=DEPTH)
        return list(found["ids"][0])

    return answer
