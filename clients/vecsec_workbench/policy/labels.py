"""The labels that documents really bear, with their numbers: from the services, or from a file saved before."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from vecsec_chassis.domain.labels import AttributeValue, Label, Sensitivity, canonical_attributes
from vecsec_chassis.domain.readers import READERS
from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.stored_ids import pages
from vecsec_cli.terminal import output
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.json_shapes import attribute_fields, fields_of
from vecsec_client import LabelCount, VecSecClient


@dataclass(frozen=True, slots=True)
class ExistingLabel:
    """A label, where it occurs, and how often."""

    collection_id: str
    label: Label
    document_count: int


def read_from_gateway(client: VecSecClient, tenants: Sequence[str]) -> list[ExistingLabel]:
    """All labels of these tenants whose documents the caller may configure."""
    return [_existing(fields_of(each)) for each in _label_counts(client, tenants)]


def read_from_file(path: Path) -> list[ExistingLabel]:
    """What `vecsec policy labels --json` printed.

    Raises:
        CommandFailure: if it is not that.
    """
    try:
        return [_existing(fields) for fields in json.loads(path.read_text())["labels"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandFailure(
            f"{path}: not a file of labels: {type(error).__name__}: {error}",
            hint="make one with `vecsec policy labels --tenant TENANT --json > labels.json`",
        ) from error


def _label_counts(client: VecSecClient, tenants: Sequence[str]) -> Iterator[LabelCount]:
    for tenant in tenants:
        for page in pages(partial(client.list_labels, tenant=tenant)):
            yield from page.labels


def _existing(fields: Mapping[str, Any]) -> ExistingLabel:
    """From the fields of a `LabelCount`, or of its JSON."""
    sensitivity, attributes = fields["sensitivity"], dict(fields["attributes"])
    if fields.get(READERS) is not None:  # files of before have none
        attributes[READERS] = list(fields[READERS])
    label = Label(
        tenant_id=fields["tenant_id"],
        sensitivity=None if sensitivity is None else Sensitivity[sensitivity],
        topics=frozenset(fields["topics"]),
        attributes=canonical_attributes({name: _attribute(value) for name, value in attributes.items()}),
    )
    return ExistingLabel(fields["collection_id"], label, int(fields["document_count"]))


def _attribute(value: object) -> AttributeValue:
    if isinstance(value, list | frozenset):
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
    found = list(_label_counts(session.client, tenant))
    if session.json:
        output.print_json({"labels": found})
        return
    rows = [
        (
            each.tenant_id,
            each.collection_id,
            each.sensitivity or "none",
            ", ".join(sorted(each.topics)),
            ", ".join(f"{name}={value}" for name, value in attribute_fields(each.attributes).items()),
            "" if each.readers is None else ", ".join(each.readers) or "nobody",
            f"{each.document_count:,}",
        )
        for each in found
    ]
    headings = ("tenant", "collection", "sensitivity", "topics", "attributes", "readers", output.right("documents"))
    output.print_table(*headings, rows=rows)
