"""`vecsec tenant export`: how it goes on where the services let go of a moment, can hold none, or it is stopped."""

import json
import os
import signal
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.cli_command import Command
from support.fake_gateway import Failure, FakeGateway
from support.installation import vecsec_command
from support.waiting import COMMAND_SECONDS, wait_until

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import collection_pb2, document_pb2, label_pb2, sensitivity_pb2
from vecsec_cli.tenants.archive import MANIFEST, Archive
from vecsec_cli.tenants.archive_check import check_archive
from vecsec_cli.tenants.archive_writing import writing_archive
from vecsec_cli.tenants.exporting import write_all
from vecsec_client import Collection, Document, ExportPage, Sensitivity, VecSecClient

GONE = Failure(
    grpc.StatusCode.INVALID_ARGUMENT,
    "moment: is not held any more; begin anew with an empty one",
    "INVALID_FIELD",
    (("moment", "is not held any more; begin anew with an empty one"),),
)
LABEL = label_pb2.Label(tenant_id="tenant_a", sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["rag"])


def page(number: int, *, moment: str, text: str = "x", last: bool = False) -> gateway_pb2.ExportDocumentsResponse:
    documents = [document_pb2.Document(document_id=f"d{number}", text=text, label=LABEL, embedding=[1.0])]
    return gateway_pb2.ExportDocumentsResponse(
        moment=moment,
        collection_id="documents",
        embedding_model="wordllama",
        documents=documents,
        next_page_token="" if last else f"documents:d{number}",
    )


class ExportingGateway(FakeGateway):
    """Gives the pages of a script, one after the other; a failure fails the call, anything else is done first."""

    script: list[gateway_pb2.ExportDocumentsResponse | Failure | Callable[[], object]]

    def ExportDocuments(self, request: Any, context: Any) -> Any:
        self._note("ExportDocuments", request, context)
        while callable(step := self.script.pop(0)) and not isinstance(step, gateway_pb2.ExportDocumentsResponse):
            step()
        if isinstance(step, Failure):
            context.abort_with_status(step.status())
        return step

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [
            (each.request.moment, each.request.page_token) for each in self.received if each.method == "ExportDocuments"
        ]


@pytest.fixture
def gateway() -> ExportingGateway:
    collection = collection_pb2.Collection(collection_id="documents", document_count=2)
    return ExportingGateway(answers={"ListCollections": gateway_pb2.ListCollectionsResponse(collections=[collection])})


def ids(folder: Path) -> list[str]:
    return [json.loads(line)["id"] for line in (folder / "documents.jsonl").read_text().splitlines()]


def test_pages_of_one_moment_make_an_archive(vecsec: Command, gateway: ExportingGateway, tmp_path: Path) -> None:
    gateway.script = [page(0, moment="m"), page(1, moment="m", last=True)]
    told = vecsec("tenant", "export", "backup", "--tenant", "tenant_a")
    assert gateway.asked == [("", ""), ("m", "documents:d0")]
    assert "documents: 2 documents\nexported 2 documents of tenant_a: backup\n" in told.stdout
    assert "documents that this token may not read are not in it" in told.stderr
    archive = Archive.read(tmp_path / "backup")
    check_archive(archive)
    assert archive.manifest.is_of_one_moment
    assert ids(tmp_path / "backup") == ["d0", "d1"]


def test_a_moment_that_is_held_no_more_is_begun_anew(
    vecsec: Command, gateway: ExportingGateway, tmp_path: Path
) -> None:
    gateway.script = [page(0, moment="m"), GONE, page(1, moment="n", last=True)]
    told = vecsec("tenant", "export", "backup", "--tenant", "tenant_a")
    assert "the services hold the moment no more; reading everything again" in told.stderr
    assert gateway.asked == [("", ""), ("m", "documents:d0"), ("", "")]
    assert ids(tmp_path / "backup") == ["d1"]


def test_an_export_that_never_ends_within_its_moment_leaves_nothing(
    vecsec: Command, gateway: ExportingGateway, tmp_path: Path
) -> None:
    gateway.script = [page(0, moment="m"), GONE] * 3
    told = vecsec("tenant", "export", "backup", "--tenant", "tenant_a", exit_code=6)
    assert "error: the export was begun 3 times: the services hold the moment no more" in told.stderr
    assert list(tmp_path.glob("*backup*")) == []


def test_pages_of_two_policies_are_no_archive(vecsec: Command, gateway: ExportingGateway, tmp_path: Path) -> None:
    """Rows that the new one hides would be missing of the pages that follow."""
    first, second, third = (page(number, moment="m", last=number == 2) for number in range(3))
    second.policy_version = third.policy_version = "stricter"
    first.policy_version = "before"
    gateway.script = [first, second, third]
    told = vecsec("tenant", "export", "backup", "--tenant", "tenant_a")
    assert "the policy was changed meanwhile; reading everything again" in told.stderr
    assert gateway.asked == [("", ""), ("m", "documents:d0"), ("", "")]
    assert ids(tmp_path / "backup") == ["d2"]


def test_where_no_moment_can_be_held_everything_is_read_until_nothing_changed(
    vecsec: Command, gateway: ExportingGateway, tmp_path: Path
) -> None:
    first, second = page(0, moment=""), page(1, moment="", last=True)
    gateway.script = [
        first,
        second,
        page(0, moment="", text="changed"),
        second,
        page(0, moment="", text="changed"),
        second,
    ]
    told = vecsec.json("tenant", "export", "backup", "--tenant", "tenant_a")
    assert told == {"folder": "backup", "tenant_id": "tenant_a", "documents": {"documents": 2}, "one_moment": True}
    assert '"text": "changed"' in (tmp_path / "backup" / "documents.jsonl").read_text()


def test_what_goes_on_changing_is_said(vecsec: Command, gateway: ExportingGateway, tmp_path: Path) -> None:
    gateway.script = [page(0, moment="", text=str(number), last=True) for number in range(3)]
    told = vecsec("tenant", "export", "backup", "--tenant", "tenant_a")
    assert "documents changed while they were read: each is whole, but they are not of one moment" in told.stderr
    archive = Archive.read(tmp_path / "backup")
    check_archive(archive)
    assert not archive.manifest.is_of_one_moment
    assert '"text": "2"' in (tmp_path / "backup" / "documents.jsonl").read_text()


def test_a_failure_in_the_middle_leaves_nothing(vecsec: Command, gateway: ExportingGateway, tmp_path: Path) -> None:
    gateway.script = [page(0, moment="m"), Failure(grpc.StatusCode.DATA_LOSS, "damaged", "STORE_DAMAGED")]
    vecsec("tenant", "export", "backup", "--tenant", "tenant_a", exit_code=9)
    assert list(tmp_path.glob("*backup*")) == []


@pytest.mark.parametrize("stopped_by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_export_that_is_stopped_leaves_nothing_that_passes_for_an_archive(
    vecsec: Command, gateway: ExportingGateway, tmp_path: Path, stopped_by: signal.Signals
) -> None:
    def stop() -> None:
        wait_until(lambda: bool(list(tmp_path.glob(".backup.unfinished-*/documents.jsonl"))))
        process.send_signal(stopped_by)
        process.wait(COMMAND_SECONDS)

    gateway.script = [page(0, moment="m"), stop, page(1, moment="m", last=True)]
    command = [vecsec_command(), "tenant", "export", "backup", "--tenant", "tenant_a"]
    with subprocess.Popen(
        command, env={**os.environ, **vecsec.environment}, cwd=tmp_path, stderr=subprocess.PIPE
    ) as process:
        process.communicate(timeout=COMMAND_SECONDS)
    assert process.returncode != 0
    assert not (tmp_path / "backup").exists()
    left = list(tmp_path.glob(".backup*"))
    assert [list(folder.glob(MANIFEST)) for folder in left] == [[] for _ in left]
    if stopped_by is signal.SIGINT:
        assert left == []
    for folder in left:
        told = vecsec("tenant", "import", str(folder), "--tenant", "tenant_a", exit_code=2)
        assert "is not a finished export: it has no tenant.json" in told.stderr


def test_an_archive_of_the_first_format_is_taken_only_where_that_is_said(
    vecsec: Command, gateway: ExportingGateway, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    line = {"id": "a", "text": "a", "sensitivity": "PUBLIC", "topics": ["rag"], "embedding": [1.0]}
    (folder / "documents.jsonl").write_text(json.dumps(line) + "\n")
    collections = [{"collection_id": "documents", "embedding_model": "wordllama", "document_count": 1}]
    (folder / MANIFEST).write_text(json.dumps({"tenant_id": "tenant_a", "collections": collections}))
    assert "it cannot be checked" in vecsec("tenant", "verify", "--archive", "old", exit_code=2).stderr
    refused = vecsec("tenant", "import", "old", "--tenant", "tenant_a", exit_code=2)
    assert "old is an archive of version 0.1, which has no hashes: whether it was cut or altered" in refused.stderr
    assert gateway.stored == {}
    told = vecsec("tenant", "import", "old", "--tenant", "tenant_a", "--unchecked")
    assert "old is of version 0.1 and could not be checked" in told.stderr
    assert list(gateway.stored) == ["a"]


def test_nothing_is_stored_of_an_archive_whose_second_file_is_bad(
    vecsec: Command, gateway: ExportingGateway, tmp_path: Path
) -> None:
    first, second = page(0, moment="m"), page(1, moment="m", last=True)
    second.collection_id = "notes"
    gateway.script = [first, second]
    vecsec("tenant", "export", "backup", "--tenant", "tenant_a")
    told = vecsec("tenant", "verify", "--archive", "backup")
    assert told.stdout.splitlines()[-1] == "as they were written: 2 documents of tenant_a: backup"
    foreign = vecsec("tenant", "verify", "--archive", "backup", "--tenant", "tenant_b", exit_code=2)
    assert "backup is an archive of 'tenant_a', not of 'tenant_b'" in foreign.stderr
    notes = tmp_path / "backup" / "notes.jsonl"
    notes.write_text(notes.read_text().replace("PUBLIC", "SECRET"))
    refused = vecsec("tenant", "import", "backup", "--tenant", "tenant_a", exit_code=2)
    assert (
        "error: backup/notes.jsonl was altered or damaged: its SHA-256 is not the one in tenant.json" in refused.stderr
    )
    assert gateway.stored == {}
    assert gateway.streams == 0
    verified = vecsec("tenant", "verify", "--archive", "backup", exit_code=2)
    assert "error: backup/notes.jsonl was altered or damaged" in verified.stderr
    assert "hint:  nothing of it was used; take another archive" in verified.stderr


class EndlessClient(VecSecClient):
    """Gives so many pages of new documents, of one moment."""

    def __init__(self, pages: int) -> None:
        super().__init__("localhost:1", token="t")
        self._pages = pages

    def list_collections(self, **_where: object) -> tuple[Collection, ...]:  # type: ignore[override]
        return ()

    def export_documents(self, *, page_token: str, **_where: object) -> ExportPage:  # type: ignore[override]
        number = int(page_token or 0)
        documents = tuple(
            Document(
                document_id=f"{number:06}.{row}",
                text=f"{number}.{row} " + "x" * 2_000,
                tenant_id="tenant_a",
                sensitivity=Sensitivity.PUBLIC,
                topics=("rag",),
                attributes={},
                metadata={"row": row},
                embedding=(0.5,) * 64,
            )
            for row in range(100)
        )
        token = "" if number + 1 == self._pages else str(number + 1)
        return ExportPage(
            documents=documents, collection_id="documents", embedding_model="m", moment="m", next_page_token=token
        )


def test_an_export_takes_no_more_memory_for_more_documents(tmp_path: Path) -> None:
    """Written and checked page by page: 8 MB of documents in no more memory than 1 MB of them."""
    peaks = []
    for pages in (5, 5, 40):
        with EndlessClient(pages) as client:
            tracemalloc.start()
            with writing_archive(tmp_path / f"{len(peaks)}", "tenant_a") as writer:
                write_all(client, "tenant_a", writer)
                archive = writer.finish()
            check_archive(archive)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert archive.manifest.document_count == 4_000
    assert archive.file(archive.manifest.collections[0]).stat().st_size > 8_000_000
    assert peaks[2] < peaks[1] + 1_000_000
