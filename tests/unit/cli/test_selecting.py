"""`vecsec list`, `count`, `relabel`, and `delete` by a filter: what they send, and what they say."""

import pytest
from support.cli_command import Command
from support.fake_gateway import FakeGateway

from vecsec.gateway.v1 import gateway_service_pb2 as pb
from vecsec.type.v1 import sensitivity_pb2


def test_rows_that_match_and_may_not_be_deleted_are_named_as_staying(vecsec: Command, gateway: FakeGateway) -> None:
    gateway.answers["DeleteDocuments"] = pb.DeleteDocumentsResponse(deleted_count=3)
    gateway.answers["ListDocumentIds"] = pb.ListDocumentIdsResponse(document_count=5)
    told = vecsec("delete", "--filter", "kind=memo", "--tenant", "tenant_a", "--dry-run")
    assert told.stdout == "would delete 3 documents of tenant_a, collection documents\n"
    assert told.stderr == "2 documents more match that you may read and not delete: they stay\n"
    assert gateway.methods() == ["DeleteDocuments", "ListDocumentIds"]
    first, second = (each.request for each in gateway.received)
    assert first.dry_run
    assert first.filter == second.filter
    assert (second.page_size, second.include_count) == (1, True)


def test_all_of_a_collection_is_deleted_when_told(vecsec: Command, gateway: FakeGateway) -> None:
    gateway.answers["DeleteDocuments"] = pb.DeleteDocumentsResponse(deleted_count=3)
    arguments = ("delete", "--all", "--tenant", "tenant_a", "--collection", "notes", "--yes")
    assert vecsec(*arguments).stdout == "deleted 3 documents\n"
    assert [(each.request.whole_collection, each.request.dry_run) for each in gateway.received] == [
        (True, True),
        (True, False),
    ]


def test_relabel_sends_what_is_to_be_otherwise(vecsec: Command, gateway: FakeGateway) -> None:
    gateway.answers["RelabelDocuments"] = pb.RelabelDocumentsResponse(relabelled_count=2)
    options = ("--sensitivity", "secret", "--topics", "a,b", "--attribute", "owner=alice")
    arguments = ("relabel", "d1", "d2", "d1", "--tenant", "tenant_a", *options, "--yes")
    arguments += ("--remove-attribute", "region", "--reader", "group:x")
    assert vecsec.json(*arguments) == {"relabelled_count": 2, "dry_run": False}
    request = gateway.received[1].request
    assert (list(request.document_ids), request.dry_run) == (["d1", "d2"], False)
    change = request.change
    assert change.sensitivity == sensitivity_pb2.SENSITIVITY_SECRET
    assert (list(change.topics), list(change.removed_attributes)) == (["a", "b"], ["region"])
    assert (change.attributes["owner"].string_value, list(change.readers.names)) == ("alice", ["group:x"])
    assert not change.remove_readers
    assert gateway.received[0].request.change == change


@pytest.mark.parametrize(
    "arguments",
    [
        ("delete",),
        ("delete", "d1", "--all"),
        ("delete", "--all", "--filter", "a=1"),
        ("relabel", "--sensitivity", "secret"),
        ("relabel", "d1", "--filter", "a=1", "--sensitivity", "secret"),
    ],
)
def test_what_is_meant_is_said_once(vecsec: Command, gateway: FakeGateway, arguments: tuple[str, ...]) -> None:
    assert "ids, --filter, or --all" in vecsec(*arguments, "--tenant", "tenant_a", exit_code=2).stderr
    assert gateway.received == []
