"""Many rows share few labels, so a check may name each label once, with the number of its rows."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.refusals import refusal
from support.stack import Stack, bearer, running_stack

from vecsec.policy.v1 import policy_service_pb2
from vecsec.type.v1 import access_pb2, label_pb2, sensitivity_pb2

PUBLIC, SECRET = sensitivity_pb2.SENSITIVITY_PUBLIC, sensitivity_pb2.SENSITIVITY_SECRET


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path) as running:
        yield running


async def check(stack: Stack, row_counts: list[int], sensitivities: Sequence[Any] = (PUBLIC, SECRET)) -> Any:
    """Have so many rows of each sensitivity checked for an analyst."""
    request = policy_service_pb2.CheckDocumentsRequest(
        tenant_id="tenant_a",
        action=access_pb2.ACTION_READ,
        labels=[
            label_pb2.Label(tenant_id="tenant_a", sensitivity=sensitivity, topics=["rag"])
            for sensitivity in sensitivities
        ],
        row_counts=row_counts,
    )
    return await stack.policy.CheckDocuments(request, metadata=bearer(stack.issuer.token("tenant_a", "analyst")))


async def test_one_verdict_a_label_and_every_row_counted(stack: Stack) -> None:
    checked = await check(stack, [7, 3])
    assert [verdict.decision for verdict in checked.verdicts] == [
        access_pb2.DECISION_ALLOW,
        access_pb2.DECISION_WITHHOLD,
    ]
    assert (await stack.violations("tenant_a"))["clearance_violation"] == 3


async def test_a_label_that_is_named_twice_counts_with_all_its_rows(stack: Stack) -> None:
    checked = await check(stack, [2, 1, 3], [SECRET, PUBLIC, SECRET])
    withhold, allow = access_pb2.DECISION_WITHHOLD, access_pb2.DECISION_ALLOW
    assert [verdict.decision for verdict in checked.verdicts] == [withhold, allow, withhold]
    assert (await stack.violations("tenant_a"))["clearance_violation"] == 5


@pytest.mark.parametrize("row_counts", [[1], [1, 1, 1], [0, 1], [999, 2], [1001, 1]])
async def test_counts_that_do_not_fit_are_refused(stack: Stack, row_counts: list[int]) -> None:
    refused = await refusal(check(stack, row_counts))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields[0].startswith("row_counts")
