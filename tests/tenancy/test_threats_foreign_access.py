"""THREATS 33: each access across tenants is on record, also past the gateway; the tenant sees it, and nobody else."""

import json
import time
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from structlog.testing import capture_logs
from support.certificates import Authority
from support.issuer import pem
from support.refusals import refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack
from support.waiting import until
from unit.retrieval.worlds import permit

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as pb
from vecsec.policy.v1 import policy_service_pb2_grpc
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import access_pb2, query_pb2
from vecsec_chassis.auth.grants import GrantSigner, thumbprint
from vecsec_chassis.domain.access import Action, Grant
from vecsec_policy.audit import writer
from vecsec_policy.audit.verification import verify_log
from vecsec_policy.reload.known_grant_keys import known_keys_file
from vecsec_retrieval.visibility import grant_uses

USE_ID = "0" * 32


def eve(stack: Stack) -> str:
    """An admin of another tenant, in an installation that lets admins read across tenants."""
    return stack.issuer.token("tenant_a", "admin", "SECRET", "eve")


async def page(stack: Stack, **fields: object) -> pb.ListForeignAccessResponse:
    """What an administrator of tenant_b sees."""
    token = stack.issuer.token("tenant_b", "admin", "SECRET", "auditor")
    request = gateway_pb2.ListForeignAccessRequest(tenant_id="tenant_b", **fields)  # type: ignore[arg-type]
    return (await stack.gateway.ListForeignAccess(request, metadata=bearer(token), timeout=SEARCH_SECONDS)).listing


async def accesses(stack: Stack) -> list[pb.ForeignAccess]:
    return list((await page(stack, page_size=1000)).accesses)


async def uses(stack: Stack, calls: int) -> list[pb.ForeignAccess]:
    """The uses of grants, once so many calls are among them."""
    found: list[pb.ForeignAccess] = []

    async def are_there() -> bool:
        found[:] = [each for each in await accesses(stack) if each.kind == "use"]
        return sum(each.call_count for each in found) >= calls

    await until(are_there, lambda: found)
    return found


def recorded(stack: Stack) -> list[dict[str, object]]:
    """The records of uses in the audit log."""
    lines = stack.audit_file.read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "foreign_access"]


async def read(stack: Stack, grant: str, k: int = 2) -> None:
    """A search past the gateway."""
    request = retrieval_pb2.SearchDocumentsRequest(grant=grant, query=query_pb2.Query(text="a note"), k=k)
    await stack.retrieval.SearchDocuments(request, timeout=SEARCH_SECONDS)


async def report(stack: Stack, grant: str, use_id: str = USE_ID, **fields: object) -> list[str]:
    """Report one call by a grant at the policy service's port; the ids that were refused."""
    now = Timestamp()
    now.GetCurrentTime()
    defaults: dict[str, object] = {"call_count": 1, "row_count": 1, "start_time": now, "end_time": now}
    use = pb.GrantUse(use_id=use_id, grant=grant, **(defaults | fields))  # type: ignore[arg-type]
    request = pb.ReportForeignAccessRequest(uses=[use])
    return list((await stack.policy.ReportForeignAccess(request, timeout=SEARCH_SECONDS)).refused_use_ids)


async def test_threat_33_two_hundred_direct_reads_by_one_grant_are_two_hundred_on_record(tmp_path: Path) -> None:
    async with running_stack(tmp_path, admins_cross=True) as stack:
        await stack.load("tenant_b", document("a", "a note"), document("b", "a note"), document("c", "another"))
        grant = await stack.grant(eve(stack), "tenant_b")
        for _ in range(200):
            await read(stack, grant)
        found = await uses(stack, 200)
        assert sum(each.call_count for each in found) == 200
        assert sum(each.row_count for each in found) == 400
        assert {(each.caller_tenant_id, each.subject, each.role, each.action) for each in found} == {
            ("tenant_a", "eve", "admin", access_pb2.ACTION_READ)
        }
        [given] = [each for each in await accesses(stack) if each.kind == "grant"]
        assert (given.subject, given.call_count, given.row_count) == ("eve", 0, 0)
        metrics = stack.metrics(stack.retrieval_service)
        assert metrics['vecsec_foreign_calls_total{outcome="told"}'] == 200
        assert metrics["vecsec_foreign_uses_waiting"] == 0
    assert sum(int(str(each["calls"])) for each in recorded(stack)) == 200
    assert verify_log(stack.audit_file).findings == []


async def test_threat_33_every_kind_of_access_counts_and_that_of_own_callers_does_not(tmp_path: Path) -> None:
    async with running_stack(tmp_path, admins_cross=True) as stack:
        await stack.load("tenant_b", document("a", "a note"), document("b", "a note"))
        reading = await stack.grant(eve(stack), "tenant_b")
        get = retrieval_pb2.GetDocumentsRequest(grant=reading, document_ids=["a", "b", "absent"])
        await stack.retrieval.GetDocuments(get)
        await stack.retrieval.ListDocumentIds(retrieval_pb2.ListDocumentIdsRequest(grant=reading))
        await stack.retrieval.ListCollections(retrieval_pb2.ListCollectionsRequest(grant=reading))
        hidden = retrieval_pb2.GetDocumentsRequest(grant=reading, document_ids=["a"], collection_id="absent")
        assert (await refusal(stack.retrieval.GetDocuments(hidden))).code is grpc.StatusCode.NOT_FOUND
        assert await stack.ids(eve(stack), "tenant_b", "a note")  # through the gateway
        found = await uses(stack, 5)  # one or more, as it was told in between
        assert (sum(each.call_count for each in found), sum(each.row_count for each in found)) == (5, 6)
        status = gateway_pb2.GetPolicyStatusRequest(tenant_id="tenant_b")
        await stack.gateway.GetPolicyStatus(status, metadata=bearer(eve(stack)))
        [asked] = [each for each in await accesses(stack) if each.kind not in {"grant", "use"}]
        assert (asked.kind, asked.subject, asked.call_count) == ("status", "eve", 1)
        # Their own: they have been in the log all along, and are no business of others.
        assert {each.caller_tenant_id for each in await accesses(stack)} == {"tenant_a"}


async def test_threat_33_others_are_not_told_who_was_there(tmp_path: Path) -> None:
    """Also whoever may configure the tenant from another one."""
    async with running_stack(tmp_path, tenants={"tenant_c": ["marketing"]}, admins_cross=True) as stack:
        await stack.load("tenant_b", document("a", "a note"))
        await stack.ids(stack.issuer.token("tenant_c", "admin", "SECRET", "carol"), "tenant_b")
        await uses(stack, 1)
        request = gateway_pb2.ListForeignAccessRequest(tenant_id="tenant_b")
        refused = await refusal(stack.gateway.ListForeignAccess(request, metadata=bearer(eve(stack))))
        assert refused.code is grpc.StatusCode.PERMISSION_DENIED
        assert refused.message == "what callers of other tenants did in a tenant is for its own callers alone"
        analyst = stack.issuer.token("tenant_b", "analyst", "INTERNAL", "bob")
        refused = await refusal(stack.gateway.ListForeignAccess(request, metadata=bearer(analyst)))
        assert refused.code is grpc.StatusCode.PERMISSION_DENIED
        assert {each.subject for each in await accesses(stack)} == {"carol"}


async def test_threat_33_a_page_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    async with running_stack(tmp_path, admins_cross=True) as stack:
        status = pb.GetPolicyStatusRequest(tenant_id="tenant_b")
        for number in range(5):
            token = stack.issuer.token("tenant_a", "admin", "SECRET", f"eve-{number}")
            await stack.policy.GetPolicyStatus(status, metadata=bearer(token))
        seen: list[str] = []
        token = ""
        while len(seen) < 5:
            listing = await page(stack, page_size=2, page_token=token)
            seen += [each.subject for each in listing.accesses]
            token = listing.next_page_token
            assert listing.has_more == (len(seen) < 5)
        assert seen == [f"eve-{number}" for number in range(5)]
        newest = await page(stack, page_size=2, newest_first=True)
        assert [each.subject for each in newest.accesses] == ["eve-4", "eve-3"]
        for wrong in ("no page", "eyJ4IjpbIngiLCJ4Il19"):
            admin = stack.issuer.token("tenant_b", "admin", "SECRET", "auditor")
            request = gateway_pb2.ListForeignAccessRequest(tenant_id="tenant_b", page_token=wrong)
            refused = await refusal(stack.gateway.ListForeignAccess(request, metadata=bearer(admin)))
            assert refused.message == "page_token: is not one that ListForeignAccess gave"


async def test_threat_33_a_stop_tells_the_rest(tmp_path: Path) -> None:
    """Reads of the last moment are on record once the service has stopped."""
    async with running_stack(tmp_path, admins_cross=True) as stack:
        await stack.load("tenant_b", document("a", "a note"))
        grant = await stack.grant(eve(stack), "tenant_b")
        for _ in range(7):
            await read(stack, grant)
    assert sum(int(str(each["calls"])) for each in recorded(stack)) == 7


async def test_threat_33_a_grant_that_was_revoked_still_tells_what_it_was_used_for(tmp_path: Path) -> None:
    """As in the response to a leak: the key goes, and what was done with it counts most."""
    async with running_stack(tmp_path, admins_cross=True) as stack:
        revoked = await stack.grant(eve(stack), "tenant_b")
        new = Ed25519PrivateKey.generate()
        stack.issuer.grant_key_file.write_bytes(pem(new))

        async def new_key_signs() -> bool:
            grant = await stack.grant(eve(stack), "tenant_b")
            return jwt.get_unverified_header(grant)["kid"] == thumbprint(new)

        await until(new_key_signs)
        assert await report(stack, revoked) == []
        assert [each["calls"] for each in recorded(stack)] == [1]


async def test_threat_33_a_grant_is_known_again_after_its_key_and_the_service_went(tmp_path: Path) -> None:
    async with running_stack(tmp_path, admins_cross=True) as stack:
        before = await stack.grant(eve(stack), "tenant_b")
        kept = known_keys_file(stack.audit_file)
    async with running_stack(tmp_path, admins_cross=True) as stack:  # with a new key
        after = await stack.grant(eve(stack), "tenant_b")
        assert jwt.get_unverified_header(before)["kid"] != jwt.get_unverified_header(after)["kid"]
        assert await report(stack, before) == []
        assert [each["calls"] for each in recorded(stack)] == [1]
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [set(key) & {"d", "k"} for key in json.loads(kept.read_text())["keys"]] == [set(), set()]


@pytest.mark.parametrize("damage", ["half", "another key", "no list"])
async def test_threat_33_no_key_of_a_damaged_file_holds(tmp_path: Path, damage: str) -> None:
    async with running_stack(tmp_path, admins_cross=True) as stack:
        grant = await stack.grant(eve(stack), "tenant_b")
        kept = known_keys_file(stack.audit_file)
    text = kept.read_text()
    [key] = json.loads(text)["keys"]
    forged = GrantSigner(Ed25519PrivateKey.generate(), key["kid"])
    wrong = {"keys": [forged.public_key.as_dict(private=False) | {"kid": key["kid"]}]}
    written = {"half": text[: len(text) // 2], "another key": json.dumps(wrong), "no list": "{}"}[damage]
    kept.write_text(written)
    with capture_logs() as lines:
        async with running_stack(tmp_path, admins_cross=True) as stack:
            assert await report(stack, grant) == [USE_ID]
            assert await report(stack, forged.sign(_grant())) == [USE_ID]
            assert recorded(stack) == []
    [told] = [line for line in lines if line["event"].startswith("grant keys of earlier runs cannot be read")]
    assert (told["log_level"], told["file"]) == ("error", str(kept))
    assert kept.with_name(kept.name + ".damaged").read_text() == written


async def test_threat_33_replicas_with_keys_of_their_own_know_one_anothers_grants(tmp_path: Path) -> None:
    other = Ed25519PrivateKey.generate()
    theirs = GrantSigner(other, thumbprint(other))
    shared = tmp_path / "all.jwks.json"
    shared.write_text(json.dumps({"keys": [theirs.public_key.as_dict(private=False) | {"kid": theirs.key_id}]}))
    async with running_stack(tmp_path / "alone", admins_cross=True) as stack:
        assert await report(stack, theirs.sign(_grant())) == [USE_ID]
    async with running_stack(tmp_path / "replica", admins_cross=True, VECSEC_GRANT_JWKS=str(shared)) as stack:
        own = await stack.grant(eve(stack), "tenant_b")
        for number, grant in enumerate((theirs.sign(_grant()), own)):
            assert await report(stack, grant, f"{number:032x}") == []
        assert len(recorded(stack)) == 2


async def test_threat_33_nobody_reports_what_they_have_no_grant_for(tmp_path: Path) -> None:
    async with running_stack(tmp_path, admins_cross=True) as stack:
        strange = Ed25519PrivateKey.generate()
        theirs = GrantSigner(strange, thumbprint(strange)).sign(_grant())
        own = await stack.grant(stack.issuer.token("tenant_b", "admin", "SECRET", "bob"), "tenant_b")
        old = GrantSigner.from_file(stack.issuer.grant_key_file).sign(_grant(seconds=-2 * 86_400))
        for grant in (theirs, own, old, "no grant"):
            assert await report(stack, grant) == [USE_ID]
        assert recorded(stack) == []
        grant = await stack.grant(eve(stack), "tenant_b")
        for bad in ({"use_id": "mine"}, {"call_count": -1}, {"end_time": Timestamp(seconds=2**62)}):
            assert (await refusal(report(stack, grant, **bad))).code is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[arg-type]
        assert recorded(stack) == []


async def test_threat_33_what_is_reported_twice_is_listed_once(tmp_path: Path) -> None:
    """Recorded once, unless the policy service restarts in between; listed once all the same."""
    async with running_stack(tmp_path, admins_cross=True) as stack:
        grant = await stack.grant(eve(stack), "tenant_b")
        for _ in range(3):
            assert await report(stack, grant) == []
        assert len(recorded(stack)) == 1
        assert stack.metrics(stack.policy_service)['vecsec_foreign_calls_recorded_total{action="read"}'] == 1
    async with running_stack(tmp_path, admins_cross=True) as stack:
        grant = await stack.grant(eve(stack), "tenant_b")
        assert await report(stack, grant) == []
        assert len(recorded(stack)) == 2
        assert await report(stack, grant, "f" * 32, call_count=7) == []
        await uses(stack, 8)  # the log is read in order
        assert [each.call_count for each in await uses(stack, 8)] == [1, 7]


async def test_threat_33_what_the_audit_log_cannot_take_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_stack(tmp_path, admins_cross=True) as stack:
        grant = await stack.grant(eve(stack), "tenant_b")
        with monkeypatch.context() as full:
            full.setattr(writer, "_WAITING_RECORDS", 0)
            refused = await refusal(report(stack, grant))
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "AUDIT_UNAVAILABLE")
        assert recorded(stack) == []
        assert await report(stack, grant) == []
        assert len(recorded(stack)) == 1


async def test_threat_33_a_report_of_strange_grants_is_one_line_and_keeps_no_decision_waiting(tmp_path: Path) -> None:
    async with running_stack(tmp_path, admins_cross=True) as stack:
        now = Timestamp()
        now.GetCurrentTime()
        uses = [
            pb.GrantUse(use_id=f"{number:032x}", grant=f"no grant {number}", start_time=now, end_time=now)
            for number in range(100)
        ]
        with capture_logs() as lines:
            answer = await stack.policy.ReportForeignAccess(pb.ReportForeignAccessRequest(uses=uses))
        assert len(answer.refused_use_ids) == 100
        [told] = [line for line in lines if line["event"] == "uses of grants are not taken down"]
        assert told["uses"] == 100
        assert 1 <= len(told["reasons"]) <= 3


async def test_threat_33_with_mutual_tls_retrieval_may_report_and_nothing_else(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    async with running_stack(tmp_path, admins_cross=True, authority=authority) as stack:
        await stack.load("tenant_b", document("a", "a note"))
        await stack.ids(eve(stack), "tenant_b")
        await uses(stack, 1)
        credentials = authority.credentials("spiffe://vecsec/retrieval")
        async with grpc.aio.secure_channel(f"localhost:{stack.policy_service.port}", credentials) as channel:
            stub = policy_service_pb2_grpc.PolicyServiceStub(channel)
            plan = pb.PlanAccessRequest(tenant_id="tenant_b", action=access_pb2.ACTION_READ)
            refused = await refusal(stub.PlanAccess(plan, metadata=bearer(eve(stack)), timeout=SEARCH_SECONDS))
            assert refused.code is grpc.StatusCode.PERMISSION_DENIED
        credentials = authority.credentials("auditor.example")
        async with grpc.aio.secure_channel(f"localhost:{stack.policy_service.port}", credentials) as channel:
            stub = policy_service_pb2_grpc.PolicyServiceStub(channel)
            refused = await refusal(stub.ReportForeignAccess(pb.ReportForeignAccessRequest(), timeout=SEARCH_SECONDS))
            assert refused.code is grpc.StatusCode.PERMISSION_DENIED


async def test_threat_33_where_nothing_can_be_recorded_others_are_refused_and_own_callers_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, not answered with made-up rows; and retrieval does not count as broken for the tenant's own."""
    monkeypatch.setattr(grant_uses, "MOST_USES", 0)
    async with running_stack(tmp_path, admins_cross=True) as stack:
        await stack.load("tenant_b", document("a", "a note"))
        for _ in range(8):
            search = stack.search(eve(stack), "tenant_b", fallback=gateway_pb2.FALLBACK_MOCK)
            refused = await refusal(search)
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "AUDIT_UNAVAILABLE")
        own = stack.issuer.token("tenant_b", "analyst", "INTERNAL", "bob")
        assert await stack.ids(own, "tenant_b") == ["a"]


def _grant(seconds: float = 60) -> Grant:
    return Grant(
        subject="mallory",
        caller_tenant_id="tenant_a",
        role="admin",
        tenant_id="tenant_b",
        action=Action.READ,
        residual=permit(),
        may_configure=False,
        policy_version="1",
        expires_at=time.time() + seconds,
    )
