"""`vecsec search`, `get`, `delete`, `collections`, `explain` and `violations`."""

import json

import pytest
from support.cli_command import Command
from support.fake_gateway import FakeGateway

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.type.v1 import access_pb2, collection_pb2, document_pb2, label_pb2, sensitivity_pb2, value_pb2

EVIL = "safe\x1b[2J\x1b]0;owned\x07[bold red]not markup[/]\u202egnp.exe\x9b31m"


def document(document_id: str = "d1", text: str = "a passage") -> document_pb2.Document:
    label = label_pb2.Label(
        tenant_id="tenant_a",
        sensitivity=sensitivity_pb2.SENSITIVITY_INTERNAL,
        topics=["rag"],
        attributes={"regions": value_pb2.Value(string_list_value=value_pb2.StringList(values=["us", "eu"]))},
    )
    metadata = {"page": value_pb2.Value(integer_value=3)}
    return document_pb2.Document(document_id=document_id, text=text, label=label, metadata=metadata)


def search_response(mock: bool = False, text: str = "a passage") -> gateway_pb2.SearchDocumentsResponse:
    provenance = document_pb2.PROVENANCE_MOCK if mock else document_pb2.PROVENANCE_REAL
    row = document_pb2.ScoredDocument(document=document(text=text), score=0.5, provenance=provenance)
    return gateway_pb2.SearchDocumentsResponse(
        results=[row],
        provenance=provenance,
        mock_reason=gateway_pb2.MOCK_REASON_FLAG_OFF if mock else gateway_pb2.MOCK_REASON_UNSPECIFIED,
        metric=document_pb2.SIMILARITY_METRIC_COSINE,
        policy_version="abc",
        request_id="r1",
    )


def test_search_prints_its_answer_as_json(vecsec: Command, gateway: FakeGateway) -> None:
    gateway.answers["SearchDocuments"] = search_response()
    assert vecsec.json("search", "what is rag?", "--tenant", "tenant_a", "--k", "3") == {
        "provenance": "PROVENANCE_REAL",
        "mock_reason": None,
        "metric": "cosine",
        "policy_version": "abc",
        "request_id": "r1",
        "strategy": None,
        "mode": None,
        "results": [
            {
                "score": 0.5,
                "provenance": "PROVENANCE_REAL",
                "document_id": "d1",
                "text": "a passage",
                "tenant_id": "tenant_a",
                "sensitivity": "INTERNAL",
                "topics": ["rag"],
                "attributes": {"regions": ["eu", "us"]},
                "metadata": {"page": 3},
            }
        ],
    }
    request = gateway.received[0].request
    assert (request.tenant_id, request.query.text, request.k) == ("tenant_a", "what is rag?", 3)
    assert gateway.received[0].metadata["authorization"] == "Bearer t0ken"


def test_search_prints_a_table_for_people(vecsec: Command, gateway: FakeGateway) -> None:
    gateway.answers["SearchDocuments"] = search_response()
    output = vecsec("search", "x", "--tenant", "tenant_a").stdout
    assert all(word in output for word in ("d1", "0.500", "INTERNAL", "rag", "a passage"))
    assert "MADE-UP" not in output


def test_made_up_rows_are_announced_loudly(vecsec: Command, gateway: FakeGateway) -> None:
    gateway.answers["SearchDocuments"] = search_response(mock=True)
    assert "MADE-UP ROWS" in vecsec("search", "x", "--tenant", "tenant_a", "--allow-mock").stdout
    answer = vecsec.json("search", "x", "--tenant", "tenant_a", "--allow-mock")
    assert answer["provenance"] == answer["results"][0]["provenance"] == "PROVENANCE_MOCK"
    assert answer["mock_reason"] == "MOCK_REASON_FLAG_OFF"


@pytest.mark.parametrize(("option", "exit_code"), [((), 6), (("--fallback", "none"), 6), (("--fallback", "mock"), 0)])
def test_made_up_rows_come_only_to_who_asks_for_them(
    vecsec: Command, gateway: FakeGateway, option: tuple[str, ...], exit_code: int
) -> None:
    gateway.answers["SearchDocuments"] = search_response(mock=True)
    result = vecsec("search", "x", "--tenant", "tenant_a", *option, exit_code=exit_code)
    assert ("--allow-mock" in result.stderr) == bool(exit_code)
    assert ("MADE-UP ROWS" in result.stdout) != bool(exit_code)
    wanted = gateway_pb2.FALLBACK_NONE if exit_code else gateway_pb2.FALLBACK_MOCK
    assert gateway.received[0].request.fallback == wanted


@pytest.mark.parametrize(
    "arguments", [("search", "x"), ("get", "d1"), ("search", "x", "--json"), ("get", "d1", "--json")]
)
def test_text_of_others_neither_commands_the_terminal_nor_is_markup(
    vecsec: Command, gateway: FakeGateway, arguments: tuple[str, ...]
) -> None:
    gateway.answers["SearchDocuments"] = search_response(text=EVIL)
    gateway.answers["GetDocuments"] = gateway_pb2.GetDocumentsResponse(documents=[document(text=EVIL)])
    output = vecsec(*arguments, "--tenant", "tenant_a").stdout
    assert not set(output) & set("\x1b\x07\x9b\u202e")
    assert "[bold red]not markup[/]" in output
    if "--json" in arguments:
        rows = json.loads(output).get("results") or json.loads(output)["documents"]
        assert rows[0]["text"] == EVIL  # programs get it whole


def test_filters_are_typed_and_all_hold(vecsec: Command, gateway: FakeGateway) -> None:
    gateway.answers["SearchDocuments"] = search_response()
    conditions = ("language=en", "page>=3", 'version="3"', "draft=false", "weight<0.5", "a.b-c=x=y")
    options = [option for condition in conditions for option in ("--filter", condition)]
    vecsec("search", "x", "--tenant", "tenant_a", *options)
    language, page, version, draft, weight, odd = gateway.received[0].request.filter.all_of.filters
    assert language.equals.value.string_value == "en"
    assert page.range.at_least == 3
    assert version.equals.value.string_value == "3"
    assert draft.equals.value.WhichOneof("kind") == "boolean_value"
    assert weight.range.less_than == 0.5
    assert (odd.equals.key, odd.equals.value.string_value) == ("a.b-c", "x=y")


@pytest.mark.parametrize("condition", ["", "page", "=3", "page>=three", "$or=1", "page!=3"])
def test_what_is_no_filter_is_told(vecsec: Command, gateway: FakeGateway, condition: str) -> None:
    result = vecsec("search", "x", "--tenant", "tenant_a", "--filter", condition, exit_code=2)
    assert "--filter" in result.stderr
    assert gateway.received == []


def test_get_names_what_is_missing(vecsec: Command, gateway: FakeGateway) -> None:
    gateway.answers["GetDocuments"] = gateway_pb2.GetDocumentsResponse(documents=[document()], policy_version="abc")
    assert vecsec.json("get", "d1", "--tenant", "tenant_a")["missing"] == []
    answer = vecsec.json("get", "d1", "d2", "--tenant", "tenant_a", exit_code=1)
    assert [each["document_id"] for each in answer["documents"]] == ["d1"]
    assert answer["missing"] == ["d2"]
    gateway.answers["GetDocuments"] = gateway_pb2.GetDocumentsResponse()
    assert "d2" in vecsec("get", "d2", "--tenant", "tenant_a", exit_code=5).stderr


@pytest.mark.parametrize(("deleted", "exit_code"), [(2, 0), (1, 1), (0, 5)])
def test_delete_says_how_many(vecsec: Command, gateway: FakeGateway, deleted: int, exit_code: int) -> None:
    gateway.answers["DeleteDocuments"] = gateway_pb2.DeleteDocumentsResponse(deleted_count=deleted)
    answer = vecsec.json("delete", "d1", "d2", "d1", "--tenant", "tenant_a", "--yes", exit_code=exit_code)
    assert answer == {"deleted_count": deleted, "requested_count": 2}
    assert list(gateway.received[0].request.document_ids) == ["d1", "d2"]


def test_collections(vecsec: Command, gateway: FakeGateway) -> None:
    collection = collection_pb2.Collection(
        collection_id="documents", document_count=1234, embedding_model="wordllama", dimensions=256
    )
    gateway.answers["ListCollections"] = gateway_pb2.ListCollectionsResponse(collections=[collection])
    assert "1,234" in vecsec("collections", "--tenant", "tenant_a").stdout
    assert vecsec.json("collections", "--tenant", "tenant_a")["collections"][0]["document_count"] == 1234


def test_explain_sends_the_label_and_shows_the_rules(vecsec: Command, gateway: FakeGateway) -> None:
    rule = policy_pb2.DeterminingRule(rule_id="read.own", description="own rows", text="permit (principal, …);")
    explanation = policy_pb2.ExplainAccessResponse(
        decision=access_pb2.DECISION_WITHHOLD, incident_id="i1", determining_rules=[rule]
    )
    gateway.answers["ExplainAccess"] = gateway_pb2.ExplainAccessResponse(explanation=explanation)
    arguments = ("explain", "--tenant", "tenant_a", "--sensitivity", "secret", "--topics", "finance,policy")
    output = vecsec(*arguments, "--attribute", "owner=alice", "--action", "delete").stdout
    assert all(word in output for word in ("withheld", "read.own", "permit (principal, …);", "i1"))
    request = gateway.received[0].request
    assert request.action == access_pb2.ACTION_DELETE
    assert list(request.label.topics) == ["finance", "policy"]
    assert request.label.sensitivity == sensitivity_pb2.SENSITIVITY_SECRET
    assert request.label.attributes["owner"].string_value == "alice"
    assert vecsec.json(*arguments)["allowed"] is False
