"""Wherever several texts are taken, one bare text is refused: it would be taken for its letters."""

from pathlib import Path

import mypy.api
import pytest
from support.client_caller import MakeCaller
from support.fake_gateway import FakeGateway

from vecsec_client import DocumentInput, In, InvalidArgument, Sensitivity, ViolationType, all_of, in_

ROOT = Path(__file__).parents[3]
TYPED = Path(__file__).with_name("texts_as_typed.py")


@pytest.mark.parametrize(
    ("method", "arguments", "field"),
    [
        ("get_documents", {"document_ids": "rag"}, "document_ids"),
        ("delete_documents", {"document_ids": "rag"}, "document_ids"),
        ("delete_documents", {"document_ids": b"rag"}, "document_ids"),
        ("explain_access", {"sensitivity": "PUBLIC", "topics": "rag"}, "label.topics"),
        ("count_violations", {"types": "topic_violation"}, "violation_types"),
        ("list_violations", {"types": ViolationType.TOPIC}, "violation_types"),
        ("search", {"query": "q", "filter": In("kind", "memo")}, "filter"),  # type: ignore[arg-type]
        ("search", {"query": "q", "filter": all_of(In("kind", "memo"))}, "filter.all_of.filters[0]"),  # type: ignore[arg-type]
    ],
)
async def test_a_bare_text_is_refused_by_name_and_nothing_is_sent(
    make_caller: MakeCaller, gateway: FakeGateway, method: str, arguments: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidArgument, match="must be a list, not the one text") as caught:
        await make_caller().call(method, **arguments)
    assert [each.field for each in caught.value.violations] == [field]
    assert gateway.received == []


async def test_a_document_with_a_bare_topic_is_rejected(make_caller: MakeCaller, gateway: FakeGateway) -> None:
    bare = DocumentInput(document_id="a", text="t", sensitivity=Sensitivity.PUBLIC, topics="rag")  # type: ignore[arg-type]
    good = DocumentInput(document_id="b", text="t", sensitivity=Sensitivity.PUBLIC, topics={"rag": 1}.keys())
    progress = await make_caller().store([bare, good])
    (rejected,) = (each for step in progress for each in step.rejected)
    assert (rejected.document_id, rejected.field) == ("a", "topics")
    assert rejected.reason == "must be a list, not the one text 'rag'"
    assert {name: list(each.topics) for name, each in gateway.stored.items()} == {"b": ["rag"]}


def test_a_condition_on_a_bare_text_is_refused_where_it_is_made() -> None:
    with pytest.raises(InvalidArgument, match=r"values: must be a list, not the one text 'memo'; see equals\(\)"):
        in_("kind", "memo")  # type: ignore[arg-type]
    assert in_("kind", iter(["memo", "letter"])) == In("kind", ("memo", "letter"))


def test_a_type_checker_refuses_a_bare_text_and_takes_every_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # `mypy_path` is relative
    report, complaints, status = mypy.api.run(["--cache-dir", str(tmp_path), str(TYPED)])
    assert status == 0, report + complaints
