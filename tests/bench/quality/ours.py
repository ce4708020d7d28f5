"""VecSec as it is used: three processes, the SDK, a token in each call."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.quality.beside import Answering, Corpora
from bench.quality.measuring import DEPTH
from bench.quality.questions import Question
from bench.secured import running
from vecsec_client import DocumentInput, SearchMode, VecSecClient

TENANT = "bench_quality"
_PATIENT = {"VECSEC_RETRIEVAL_TIMEOUT_SECONDS": "60", "VECSEC_POLICY_TIMEOUT_SECONDS": "60"}
"""How good an answer is does not depend on how busy the machine is."""


@contextmanager
def answering(folder: Path, corpora: Corpora) -> Iterator[dict[SearchMode, Answering]]:
    """An installation that has each corpus as a collection, and how it answers in each mode."""
    with running(folder, [TENANT], **_PATIENT) as secured:
        token = secured.token(TENANT, "admin", "SECRET")
        with VecSecClient(secured.installation.address, token=token, default_tenant=TENANT, timeout=300) as client:
            for name, passages in corpora.items():
                client.import_documents(
                    (
                        DocumentInput(
                            document_id=f"row-{row}", text=each.text, sensitivity="INTERNAL", topics=["bench"]
                        )
                        for row, each in enumerate(passages)
                    ),
                    collection=name,
                    strict=True,
                )
            yield {mode: _in_mode(client, mode, corpora) for mode in SearchMode}


def _in_mode(client: VecSecClient, mode: SearchMode, corpora: Corpora) -> Answering:
    def answer(question: Question) -> list[str]:
        found = client.search(question.text, collection=question.corpus, k=DEPTH, mode=mode)
        rows = (int(each.document_id.removeprefix("row-")) for each in found.results)
        return [corpora[question.corpus][row].passage_id for row in rows]

    return answer
