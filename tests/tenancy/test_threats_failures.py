"""When something fails: THREATS 2 (divergence), 10 (caches), 11 (fail open), 17 (mock), 18 (counters), 19 (retries)."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from support.refusals import refusal
from support.stack import Stack, document, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.policy.v1 import policy_service_pb2_grpc
from vecsec.retrieval.v1 import retrieval_service_pb2, retrieval_service_pb2_grpc
from vecsec.type.v1 import document_pb2, label_pb2, sensitivity_pb2
from vecsec_chassis.domain.errors import StartupError
from vecsec_chassis.rpc.server import RunningService
from vecsec_policy.app import running_policy
from vecsec_policy.settings import PolicySettings

SENTINEL = "sentinel-6f1c"


class LeakyRetrieval(retrieval_service_pb2_grpc.RetrievalServiceServicer):
    """A retrieval service with a fault that ours has not: it ignores the grant."""

    async def SearchDocuments(
        self, request: retrieval_service_pb2.SearchDocumentsRequest, context: object
    ) -> retrieval_service_pb2.SearchDocumentsResponse:
        labels = {
            "fine": label_pb2.Label(
                tenant_id="tenant_a", sensitivity=sensitivity_pb2.SENSITIVITY_INTERNAL, topics=["rag"]
            ),
            "secret": label_pb2.Label(
                tenant_id="tenant_a", sensitivity=sensitivity_pb2.SENSITIVITY_SECRET, topics=["rag"]
            ),
            "foreign": label_pb2.Label(
                tenant_id="tenant_b", sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["policy"]
            ),
            "untagged": label_pb2.Label(),
            "off-topic": label_pb2.Label(
                tenant_id="tenant_a", sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["finance"]
            ),
        }
        return retrieval_service_pb2.SearchDocumentsResponse(
            results=[
                document_pb2.ScoredDocument(
                    document=document_pb2.Document(document_id=document_id, text=SENTINEL, label=label),
                    score=0.5,
                    provenance=document_pb2.PROVENANCE_REAL,
                )
                for document_id, label in labels.items()
            ]
        )


@asynccontextmanager
async def leaky_retrieval() -> AsyncIterator[str]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    retrieval_service_pb2_grpc.add_RetrievalServiceServicer_to_server(LeakyRetrieval(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"localhost:{port}"
    await server.stop(0)


async def test_threat_02_what_the_check_refuses_is_withheld_and_counted(tmp_path: Path) -> None:
    async with (
        leaky_retrieval() as address,
        running_stack(tmp_path, VECSEC_RETRIEVAL_ADDRESS=address) as stack,
    ):
        assert await stack.ids(stack.issuer.token(), "tenant_a") == ["fine"]
        counts = await stack.violations("tenant_a")
        assert counts["plan_check_divergence"] == 4
        assert counts["clearance_violation"] >= 1
        assert counts["document_tenant_violation"] >= 2
        assert counts["topic_violation"] >= 1
        metrics = stack.metrics(stack.policy_service)
        assert metrics["vecsec_plan_check_divergence_total"] == 4


async def test_threat_10_one_callers_cache_never_answers_another(stack: Stack) -> None:
    await stack.load("tenant_a", document("open", "same words", "PUBLIC"), document("secret", "same words", "SECRET"))
    await stack.load("tenant_b", document("b", "same words", "PUBLIC"))
    admin = stack.issuer.token("tenant_a", "admin", "SECRET", "same-subject")
    for _ in range(3):
        assert sorted(await stack.ids(admin, "tenant_a", "same words")) == ["open", "secret"]
    guest = stack.issuer.token("tenant_a", "guest", "PUBLIC", "same-subject")
    other = stack.issuer.token("tenant_b", "guest", "PUBLIC", "same-subject")
    assert await stack.ids(guest, "tenant_a", "same words") == ["open"]
    assert await stack.ids(other, "tenant_b", "same words") == ["b"]


async def test_threat_10_a_policy_change_empties_what_it_must(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        await stack.load("tenant_a", document("a", "a note", "INTERNAL", ("marketing",)))
        token = stack.issuer.token()
        before = await stack.search(token, "tenant_a")
        assert [result.document.document_id for result in before.results] == ["a"]
        tenants = stack.policy_folder / "tenants.yaml"
        tenants.write_text(tenants.read_text().replace("marketing", "gardening"))
    async with running_stack(tmp_path) as stack:
        after = await stack.search(stack.issuer.token(), "tenant_a")
        assert not after.results
        assert after.policy_version != before.policy_version


@pytest.mark.parametrize("fallback", ["FALLBACK_MOCK", "FALLBACK_NONE", "FALLBACK_UNSPECIFIED"])
async def test_threat_11_no_policy_no_rows_and_no_mock(tmp_path: Path, fallback: str) -> None:
    async with running_stack(tmp_path, VECSEC_POLICY_ADDRESS="localhost:1") as stack:
        refused = await refusal(
            stack.search(stack.issuer.token(), "tenant_a", fallback=gateway_service_pb2.Fallback.Value(fallback))
        )
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "POLICY_UNAVAILABLE")


class SilentPolicy(policy_service_pb2_grpc.PolicyServiceServicer):
    """A policy service that hangs."""

    async def PlanAccess(self, request: object, context: grpc.aio.ServicerContext[object, object]) -> object:
        import asyncio

        await asyncio.sleep(60)
        return None


async def test_threat_11_a_hanging_policy_gives_no_rows(tmp_path: Path) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    policy_service_pb2_grpc.add_PolicyServiceServicer_to_server(SilentPolicy(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with running_stack(
        tmp_path, VECSEC_POLICY_ADDRESS=f"localhost:{port}", VECSEC_DEFAULT_DEADLINE_SECONDS=1
    ) as stack:
        from support.stack import bearer

        from vecsec.type.v1 import query_pb2

        request = gateway_service_pb2.SearchDocumentsRequest(tenant_id="tenant_a", query=query_pb2.Query(text="x"), k=1)
        refused = await refusal(stack.gateway.SearchDocuments(request, metadata=bearer(stack.issuer.token())))
        assert (refused.code, refused.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    await server.stop(0)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("access.cedar", "permit(principal, action, resource"),
        ("tenants.yaml", "tenants: ["),
        ("roles.yaml", "roles: 3"),
    ],
)
async def test_threat_11_a_broken_policy_ends_the_start(stack: Stack, file: str, content: str) -> None:
    path = stack.policy_folder / file
    assert path.exists()
    path.write_text(content)
    settings = PolicySettings.model_validate(
        {
            "VECSEC_ISSUERS_FILE": stack.issuer.issuers_file,
            "VECSEC_POLICY_DIR": stack.policy_folder,
            "VECSEC_GRANT_KEY_FILE": stack.issuer.grant_key_file,
            "VECSEC_AUDIT_FILE": stack.folder / "other.jsonl",
            "VECSEC_POLICY_PORT": 0,
            "VECSEC_POLICY_METRICS_PORT": 0,
        }
    )
    with pytest.raises(StartupError, match=file):
        async with running_policy(settings):
            pass


def switch(stack: Stack, variant: str) -> None:
    flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": variant}
    stack.flag_file.write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))


async def test_threat_17_mock_rows_are_labelled_hold_nothing_and_can_be_refused(tmp_path: Path) -> None:
    async with running_stack(tmp_path, USE_REAL_VECTOR_RETRIEVAL="false") as stack:
        await stack.load("tenant_a", document("real", SENTINEL))
        token = stack.issuer.token()
        answer = await stack.search(token, "tenant_a", SENTINEL, fallback=gateway_service_pb2.FALLBACK_MOCK)
        assert answer.provenance == document_pb2.PROVENANCE_MOCK
        assert answer.mock_reason == gateway_service_pb2.MOCK_REASON_FLAG_OFF
        assert answer.results
        for result in answer.results:
            assert result.provenance == document_pb2.PROVENANCE_MOCK
            assert result.document.document_id.startswith("mock-")
            assert SENTINEL not in result.document.text
        refused = await refusal(stack.search(token, "tenant_a"))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "REAL_RETRIEVAL_OFF")
        metrics = stack.metrics(stack.gateway_service)
        assert sum(value for series, value in metrics.items() if series.startswith("vecsec_mock_fallback_total")) == 1


async def test_threat_17_nobody_can_store_a_row_that_looks_like_a_mock(stack: Stack) -> None:
    refused = await refusal(stack.load("tenant_a", document("mock-1", "not a mock")))
    assert refused.fields == ("documents[0].document_id",)


async def test_threat_18_filtered_denied_and_violation_are_three_numbers(stack: Stack) -> None:
    await stack.load("tenant_a", document("open", "a note", "PUBLIC"), document("secret", "a note", "SECRET"))
    guest = stack.issuer.token("tenant_a", "guest", "PUBLIC", "probe")
    for _ in range(5):
        assert await stack.ids(guest, "tenant_a") == ["open"]
    assert await stack.violations("tenant_a") == {}
    filtered = stack.metrics(stack.retrieval_service)["vecsec_rows_filtered_total"]
    assert filtered >= 5
    for number in range(3):
        await refusal(stack.load("tenant_a", document(f"w{number}", "x", "PUBLIC"), token=guest))
    assert await stack.violations("tenant_a") == {"denied": 3}
    for _ in range(2):
        await refusal(stack.search(guest, "tenant_b"))
    assert await stack.violations("tenant_a") == {"denied": 5, "cross_tenant_violation": 2}
    assert await stack.violations("tenant_b") == {}


async def test_threat_18_an_overstated_clearance_is_capped_and_counted(stack: Stack) -> None:
    await stack.load("tenant_a", document("open", "a note", "PUBLIC"), document("internal", "a note", "INTERNAL"))
    assert await stack.ids(stack.issuer.token("tenant_a", "guest", "SECRET"), "tenant_a") == ["open"]
    assert (await stack.violations("tenant_a"))["role_clearance_violation"] >= 1


async def test_threat_19_a_denial_is_never_retried(stack: Stack) -> None:
    await refusal(stack.search(stack.issuer.token(), "tenant_b"))
    assert await _denied(stack, stack.policy_service, "PlanAccess") == 1
    await refusal(stack.search(stack.issuer.token(), "tenant_a", include_embeddings=True))
    assert await _denied(stack, stack.retrieval_service, "SearchDocuments") == 1


async def _denied(stack: Stack, service: RunningService, method: str) -> float:
    """How many calls were denied; a call is counted after its answer has left."""
    series = f'vecsec_requests_total{{code="PERMISSION_DENIED",method="{method}"}}'
    await until(lambda: stack.metrics(service).get(series))
    return stack.metrics(service)[series]


async def test_threat_19_deadline_and_budget_bound_all_retries(tmp_path: Path) -> None:
    async with running_stack(tmp_path, VECSEC_RETRIEVAL_ADDRESS="localhost:1") as stack:
        for _ in range(30):
            refused = await refusal(stack.search(stack.issuer.token(), "tenant_a"))
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "RETRIEVAL_UNAVAILABLE")
            assert refused.retry_seconds is not None
        metrics = stack.metrics(stack.gateway_service)
        retries = sum(value for series, value in metrics.items() if series.startswith("vecsec_retrieval_retries_total"))
        assert retries <= 15
