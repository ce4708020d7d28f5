"""`vecsec policy labels`, and a diff that reads the labels through the gateway."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli_command import Command
from support.fake_gateway import FakeGateway, running

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import label_count_pb2, label_pb2, sensitivity_pb2, value_pb2
from vecsec_policy.settings import PACKAGED_POLICY


class PagingGateway(FakeGateway):
    """Has two pages of labels."""

    def ListLabels(self, request: gateway_pb2.ListLabelsRequest, context: object) -> gateway_pb2.ListLabelsResponse:
        level = sensitivity_pb2.SENSITIVITY_SECRET if request.page_token else sensitivity_pb2.SENSITIVITY_INTERNAL
        owner = value_pb2.Value(string_value="alice")
        tags = value_pb2.Value(string_list_value=value_pb2.StringList(values=["b", "a"]))
        label = label_pb2.Label(
            tenant_id=request.tenant_id, sensitivity=level, topics=["rag"], attributes={"owner": owner, "tags": tags}
        )
        count = label_count_pb2.LabelCount(collection_id="documents", label=label, document_count=40)
        next_page_token = "" if request.page_token else "documents:1"
        return gateway_pb2.ListLabelsResponse(labels=[count], next_page_token=next_page_token)


@pytest.fixture
def vecsec(tmp_path: Path) -> Iterator[Command]:
    with running(PagingGateway()) as address:
        state = str(tmp_path / "state")
        yield Command({"VECSEC_GATEWAY": address, "VECSEC_TOKEN": "t0ken", "VECSEC_STATE_DIR": state, "COLUMNS": "200"})


def test_all_pages_of_all_tenants_are_read_and_can_be_saved(vecsec: Command, tmp_path: Path) -> None:
    document = vecsec.json("policy", "labels", "--tenant", "tenant_a", "--tenant", "tenant_b")
    assert [(each["tenant_id"], each["sensitivity"]) for each in document["labels"]] == [
        ("tenant_a", "INTERNAL"),
        ("tenant_a", "SECRET"),
        ("tenant_b", "INTERNAL"),
        ("tenant_b", "SECRET"),
    ]
    assert document["labels"][0]["attributes"] == {"owner": "alice", "tags": ["a", "b"]}
    table = vecsec("policy", "labels", "--tenant", "tenant_a").stdout
    assert "SECRET" in table
    assert "40" in table


def test_a_diff_over_a_saved_file_is_that_over_the_gateway(vecsec: Command, folder: Path, tmp_path: Path) -> None:
    schema = folder / "schema.cedarschema"
    schema.write_text(schema.read_text().replace("region?: String,", "region?: String, tags?: Set<String>,"))
    saved = tmp_path / "labels.json"
    saved.write_text(json.dumps(vecsec.json("policy", "labels", "--tenant", "tenant_a")))
    run = ("policy", "diff", str(PACKAGED_POLICY), str(folder))
    live = vecsec.json(*run, "--tenant", "tenant_a")
    assert live == vecsec.json(*run, "--labels", str(saved))
    assert {(each["role"], each["gained_rows"]) for each in live["by_label"]} >= {("admin", 80), ("analyst", 40)}
