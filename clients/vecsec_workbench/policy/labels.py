"""The labels that documents really bear, with their numbers: from the services, or from a file saved before."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from vecsec_chassis.domain.labels import AttributeValue, Label, Sensitivity, canonical_attributes
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.terminal import output
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.json_shapes import attribute_fields
from vecsec_client import LabelCount, VecSecClient


@dataclass(frozen=True, slots=True)
class ExistingLabel:
    """A label, where it occurs, and how often."""

    collection_id: str
    label: Label
    document_count: int

    def to_json(self) -> dict[str, object]:
        """As files hold it."""
        sensitivity = self.label.sensitivity
        return {
            "tenant_id": self.label.tenant_id,
            "collection_id": self.collection_id,
            "sensitivity": None if sensitivity is None else sensitivity.name,
            "topics": sorted(self.label.topics),
            "attributes": attribute_fields(dict(self.label.attributes)),
            "document_count": self.document_count,
        }


def read_from_gateway(client: VecSecClient, tenants: Sequence[str]) -> list[ExistingLabel]:
    """All labels of these tenants whose documents the caller may configure."""
    return [_existing(each) for tenant in tenants for each in _pages(client, tenant)]


def read_from_file(path: Path) -> list[ExistingLabel]:
    """What `vecsec policy labels --json` printed.

    Raises:
        CommandFailure: if it is not that.
    """
    try:
        return [_from_json(fields) for fields in json.loads(path.read_text())["labels"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandFailure(
            f"{path}: not a file of labels: {type(error).__name__}: {error}",
            hint="make one with `vecsec policy labels --tenant TENANT --json > labels.json`",
        ) from error


def _pages(client: VecSecClient, tenant: str) -> Iterator[LabelCount]:
    page = client.list_labels(tenant=tenant)
    yield from page.labels
    while page.next_page_token:
        page = client.list_labels(tenant=tenant, page_token=page.next_page_token)
        yield from page.labels


def _existing(count: LabelCount) -> ExistingLabel:
    sensitivity = None if count.sensitivity is None else Sensitivity[count.sensitivity.value]
    attributes = _attributes(attribute_fields(count.attributes))
    label = Label(count.tenant_id, sensitivity, frozenset(count.topics), attributes)
    return ExistingLabel(count.collection_id, label, count.document_count)


def _from_json(fields: dict[str, Any]) -> ExistingLabel:
    sensitivity = fields["sensitivity"]
    label = Label(
        tenant_id=fields["tenant_id"],
        sensitivity=None if sensitivity is None else Sensitivity[sensitivity],
        topics=frozenset(fields["topics"]),
        attributes=_attributes(fields["attributes"]),
    )
    return ExistingLabel(fields["collection_id"], label, int(fields["document_count"]))


def _attributes(fields: Mapping[str, object]) -> tuple[tuple[str, AttributeValue], ...]:
    return canonical_attributes({name: _attribute(value) for name, value in fields.items()})


def _attribute(value: object) -> AttributeValue:
    if isinstance(value, list):
        return frozenset(str(member) for member in value)
    if isinstance(value, str | int):
        return value
    raise TypeError(f"an attribute cannot be {value!r}")


@with_gateway
def labels(
    session: GatewaySession,
    *,
    tenant: Annotated[list[str], typer.Option("--tenant", help="A tenant; may be repeated.")],
) -> None:
    """List the labels of tenants' documents and how many bear each; for callers who may configure the tenants.

    Save them with `--json > labels.json` for `vecsec policy diff --labels labels.json`, which then needs no services.
    """
    found = read_from_gateway(session.client, tenant)
    if session.json:
        output.print_json({"labels": [each.to_json() for each in found]})
        return
    rows = [
        (
            each.label.tenant_id,
            each.collection_id,
            "none" if each.label.sensitivity is None else each.label.sensitivity.name,
            ", ".join(sorted(each.label.topics)),
            ", ".join(f"{name}={value}" for name, value in each.label.attributes),
            f"{each.document_count:,}",
        )
        for each in found
    ]
    headings = ("tenant", "collection", "sensitivity", "topics", "attributes", output.right("documents"))
    output.print_table(*headings, rows=rows)
