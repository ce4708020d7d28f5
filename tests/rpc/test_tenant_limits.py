"""Limits of tenants, from tenants.yaml to the refusal: each holds, is told, hits nobody else, and changes live."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from shutil import copytree
from typing import Any

import grpc
import pytest
import yaml
from support.refusals import Refusal, read_refusal, refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack
from support.waiting import until

import vecsec_policy
from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.type.v1 import access_pb2, label_pb2, sensitivity_pb2, value_pb2
from vecsec_gateway import handlers
from vecsec_gateway.limits import known_limits

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture(autouse=True)
def limits_are_asked_for_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_limits, "_FRESH_SECONDS", 0.05)


def write_limits(folder: Path, **limits: object) -> None:
    """Say what tenant_a may, in a policy folder that is made where there is none."""
    if not folder.exists():
        copytree(Path(vecsec_policy.__file__).with_name("default_policy"), folder)
    tenants = yaml.safe_load((folder / "tenants.yaml").read_text())
    tenants["tenants"]["tenant_a"]["limits"] = limits
    (folder / "tenants.yaml").write_text(yaml.safe_dump(tenants))


@asynccontextmanager
async def stack_with(folder: Path, **limits: object) -> AsyncIterator[Stack]:
    """A stack in which both tenants have a row, and whose gateway knows the limits of tenant_a."""
    write_limits(folder / "policy", **limits)
    async with running_stack(folder) as stack:
        for tenant_id in ("tenant_a", "tenant_b"):
            await stack.load(tenant_id, document("d1", "a plan"))
        await until_limits_are(stack, **limits)
        yield stack


async def until_limits_are(stack: Stack, **limits: object) -> None:
    """Wait until the gateway tells the limits, and so knows them or asks for them with the next call."""

    async def are_known() -> bool:
        told = (await usage_of(stack, "tenant_a")).limits
        return all(getattr(told, name) == value for name, value in limits.items() if not isinstance(value, str))

    await until(are_known)
    await asyncio.sleep(0.1)  # the gateway may ask again
    await usage_of(stack, "tenant_a")


async def usage_of(stack: Stack, tenant_id: str) -> gateway_pb2.GetTenantUsageResponse:
    token = stack.issuer.token(tenant_id, "admin", "SECRET", "watcher")
    request = gateway_pb2.GetTenantUsageRequest(tenant_id=tenant_id)
    while True:
        try:
            return await stack.gateway.GetTenantUsage(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
        except grpc.aio.AioRpcError as error:
            told = read_refusal(error)
            assert told.reason == "TENANT_LIMIT"
            await asyncio.sleep(told.retry_seconds or 0)


async def until_refused(stack: Stack, token: str, tenant_id: str) -> Refusal:
    """Search until that is refused for another reason than that it is denied."""
    while True:
        try:
            await stack.search(token, tenant_id)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.PERMISSION_DENIED:
                return read_refusal(error)


async def test_a_tenant_beyond_its_searches_is_told_how_long_to_wait_and_others_notice_nothing(tmp_path: Path) -> None:
    async with stack_with(tmp_path, searches_per_second=2) as stack:
        alice, bob = stack.issuer.token("tenant_a"), stack.issuer.token("tenant_b")
        told = await until_refused(stack, alice, "tenant_a")
        assert (told.code, told.reason) == (EXHAUSTED, "TENANT_LIMIT")
        assert told.metadata == {"limit": "searches_per_second", "value": "2"}
        assert told.message.startswith(
            "your tenant has made the 2 searches a second that it may, dear calls counted as several "
            "(limit searches_per_second); try again in "
        )
        assert told.retry_seconds is not None
        assert 0 < told.retry_seconds < 3
        for _ in range(20):
            assert await stack.ids(bob, "tenant_b") == ["d1"]
        await asyncio.sleep(told.retry_seconds)
        assert await stack.ids(alice, "tenant_a") == ["d1"], "the wait that was told was the real one"
        refusals = stack.metrics(stack.gateway_service)
        assert refusals['vecsec_tenant_limit_refusals_total{limit="searches_per_second"}'] >= 1
        assert not any("tenant_a" in series for series in refusals)


async def test_who_is_denied_is_charged_to_their_own_tenant_and_learns_nothing_of_the_other(tmp_path: Path) -> None:
    async with stack_with(tmp_path, searches_per_second=2) as stack:
        mallory, bob = stack.issuer.token("tenant_a", subject="mallory"), stack.issuer.token("tenant_b")
        told = [await until_refused(stack, mallory, target) for target in ("tenant_b", "nobody", "tenant_a")]
        assert {each.reason for each in told} == {"TENANT_LIMIT"}
        assert [each.metadata for each in told] == [{"limit": "searches_per_second", "value": "2"}] * 3
        assert not any("tenant_b" in each.message or "nobody" in each.message for each in told)
        assert await stack.ids(bob, "tenant_b") == ["d1"]
        assert (await usage_of(stack, "tenant_b")).refused_count == 0


async def test_calls_at_the_same_time_are_counted_also_those_that_are_streams(tmp_path: Path) -> None:
    async with stack_with(tmp_path, concurrent_calls=3) as stack, AsyncExitStack() as exits:
        token = stack.issuer.token("tenant_a", "admin", "SECRET", "loader")
        for number in range(3):
            other = stack.issuer.token("tenant_a", "admin", "SECRET", f"loader {number}")
            call = stack.gateway.ImportDocuments(metadata=bearer(other), timeout=SEARCH_SECONDS)
            exits.callback(call.cancel)
            await call.write(
                gateway_pb2.ImportDocumentsRequest(tenant_id="tenant_a", documents=[document(f"s{number}", "text")])
            )
            await call.read()
        told = await refusal(stack.search(token, "tenant_a"))
        assert (told.code, told.reason) == (EXHAUSTED, "TENANT_LIMIT")
        assert told.metadata == {"limit": "concurrent_calls", "value": "3"}
        assert told.retry_seconds is not None
        assert told.retry_seconds > 0
        bob = stack.issuer.token("tenant_b")
        assert await stack.ids(bob, "tenant_b") == ["d1"]
        await call.done_writing()
        await call.read()

        async def is_served() -> bool:
            try:
                return bool(await stack.ids(token, "tenant_a"))
            except grpc.aio.AioRpcError:
                return False

        await until(is_served)


async def test_one_guest_does_not_stop_its_tenant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_FIRST_BATCH_SECONDS", 1.0)
    async with stack_with(tmp_path, concurrent_calls=4) as stack, AsyncExitStack() as exits:
        mallory = stack.issuer.token("tenant_a", "admin", "SECRET", "mallory")
        alice = stack.issuer.token("tenant_a")

        async def begun(message: gateway_pb2.ImportDocumentsRequest | None) -> "grpc.aio.StreamStreamCall[Any, Any]":
            call = stack.gateway.ImportDocuments(metadata=bearer(mallory), timeout=SEARCH_SECONDS)
            exits.callback(call.cancel)
            if message is not None:
                await call.write(message)
            return call

        idle = [await begun(None) for _ in range(8)]
        assert await stack.ids(alice, "tenant_a") == ["d1"]
        assert (await usage_of(stack, "tenant_a")).concurrent_calls == 1, "the call that asks"
        for call in idle:
            told = await refusal(call.read())
            assert (told.code, told.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        for number in range(2):
            [message] = batch(f"m{number}", text="text")
            call = await begun(message)
            await call.read()
        told = await refusal(stack.search(mallory, "tenant_a"))
        assert told.message.startswith(
            "you have half of the calls in progress that your tenant may (4), and one caller"
        )
        assert told.metadata == {"limit": "concurrent_calls", "value": "4"}
        assert "d1" in await stack.ids(alice, "tenant_a")


def large_label() -> label_pb2.Label:
    values = {
        f"attribute_{number}": value_pb2.Value(
            string_list_value=value_pb2.StringList(values=[f"{number} {each} " + "x" * 50 for each in range(16)])
        )
        for number in range(16)
    }
    return label_pb2.Label(
        tenant_id="tenant_a", sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["rag"], attributes=values
    )


async def test_dear_calls_are_charged_to_their_caller_and_not_to_others_of_the_tenant(tmp_path: Path) -> None:
    async with stack_with(tmp_path, caller_units_per_second=1) as stack:
        request = gateway_pb2.ExplainAccessRequest(
            tenant_id="tenant_a", action=access_pb2.ACTION_READ, label=large_label()
        )

        async def explained(token: str) -> Refusal | None:
            try:
                await stack.gateway.ExplainAccess(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
            except grpc.aio.AioRpcError as error:
                return read_refusal(error)
            return None

        mallory, alice = (stack.issuer.token("tenant_a", subject=name) for name in ("mallory", "alice"))
        assert await explained(mallory) is None, "one is let through, whatever it costs"
        told = await explained(mallory)
        assert told is not None
        assert (told.reason, told.metadata["limit"]) == ("TENANT_LIMIT", "caller_units_per_second")
        assert told.retry_seconds is not None
        assert told.retry_seconds > 1
        assert await stack.ids(mallory, "tenant_a") == ["d1"], "plain calls go on"
        assert await explained(alice) is None

        def is_recorded() -> bool:
            return stack.audit_file.read_bytes().count(b'"call":"explain"') == 2

        await until(is_recorded)
        records = stack.audit_file.read_bytes().splitlines()
        assert sum(b"label_cut" in each for each in records) == 2
        assert max(map(len, records)) < 10_000 < request.ByteSize(), "what is sent is not what is kept"


def batch(*names: str, text: str) -> Iterator[gateway_pb2.ImportDocumentsRequest]:
    yield gateway_pb2.ImportDocumentsRequest(
        tenant_id="tenant_a", documents=[document(name, f"{text} of {name}") for name in names]
    )


async def stored(stack: Stack, *names: str, text: str = "text") -> int | Refusal:
    token = stack.issuer.token("tenant_a", "admin", "SECRET", "loader")
    try:
        answers = stack.gateway.ImportDocuments(
            batch(*names, text=text), metadata=bearer(token), timeout=SEARCH_SECONDS
        )
        return (await anext(aiter(answers))).stored_count
    except grpc.aio.AioRpcError as error:
        return read_refusal(error)


async def test_a_tenant_stores_as_many_rows_as_it_may_and_replaces_them_still(tmp_path: Path) -> None:
    async with stack_with(tmp_path, rows=5) as stack:
        assert await stored(stack, "d2", "d3") == 2
        told = await stored(stack, "d3", "d4", "d5", "d6")
        assert isinstance(told, Refusal)
        assert (told.code, told.reason) == (EXHAUSTED, "TENANT_LIMIT")
        assert told.metadata == {"limit": "rows", "value": "5"}
        assert told.retry_seconds is None, "waiting is no help"
        assert (
            told.message
            == "your tenant may store 5 rows, and would have more; delete some, or have it raised (limit rows)"
        )
        assert await stored(stack, "d1", "d2", "d3") == 3
        assert await stored(stack, "d4", "d5") == 2
        assert (await usage_of(stack, "tenant_a")).rows == 5
        token = stack.issuer.token("tenant_a", "admin", "SECRET", "loader")
        deletion = gateway_pb2.DeleteDocumentsRequest(tenant_id="tenant_a", document_ids=["d1"])
        await stack.gateway.DeleteDocuments(deletion, metadata=bearer(token), timeout=SEARCH_SECONDS)
        assert await stored(stack, "d6") == 1
        assert isinstance(await stored(stack, "d7"), Refusal)
        assert isinstance(await stored(stack, "d7"), Refusal)
        assert (await usage_of(stack, "tenant_a")).rows == 5


async def test_a_tenant_takes_no_more_of_the_disk_than_it_may(tmp_path: Path) -> None:
    async with stack_with(tmp_path, bytes="1M") as stack:
        number = 0
        while (told := await stored(stack, *(f"n{number + each}" for each in range(200)))) == 200:
            number += 200
            assert number < 20_000
        assert isinstance(told, Refusal)
        assert told.metadata == {"limit": "bytes", "value": str(1 << 20)}
        usage = await usage_of(stack, "tenant_a")
        assert usage.limits.bytes == 1 << 20 <= usage.bytes < 4 << 20
        assert await stack.ids(stack.issuer.token("tenant_a"), "tenant_a"), "what is there can be read"


async def test_who_has_no_room_left_gets_some_by_deleting_and_may_replace_by_what_is_not_larger(tmp_path: Path) -> None:
    async with stack_with(tmp_path, bytes="1M") as stack:
        names = []
        while True:
            page = [f"n{len(names) + each}" for each in range(200)]
            if isinstance(await stored(stack, *page), Refusal):
                break
            names += page
            assert len(names) < 20_000
        for _ in range(10):
            assert await stored(stack, *names[:200]) == 200
        told = await stored(stack, *names[:200], text="a longer text than it was")
        assert isinstance(told, Refusal)
        assert told.metadata["limit"] == "bytes"
        assert (await usage_of(stack, "tenant_a")).bytes < 4 << 20
        token = stack.issuer.token("tenant_a", "admin", "SECRET", "loader")
        for start in range(0, len(names), 200):
            page = names[start : start + 200]
            deletion = gateway_pb2.DeleteDocumentsRequest(tenant_id="tenant_a", document_ids=page)
            await stack.gateway.DeleteDocuments(deletion, metadata=bearer(token), timeout=SEARCH_SECONDS)
        assert await stored(stack, *names[:200]) == 200
        usage = await usage_of(stack, "tenant_a")
        assert (usage.rows, usage.bytes < 1 << 20) == (201, True)


async def test_an_import_that_is_too_fast_is_slowed_down_and_one_far_too_fast_is_refused(tmp_path: Path) -> None:
    async with stack_with(tmp_path, import_rows_per_second=10) as stack:
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await stored(stack, *(f"a{each}" for each in range(15))) == 15
        assert await stored(stack, *(f"b{each}" for each in range(15))) == 15
        assert loop.time() - started > 0.5
        # What is more than may be saved up waits until as much as ever is lies there, and leaves a debt.
        assert await stored(stack, *(f"c{each}" for each in range(100))) == 100
        told = await stored(stack, *(f"d{each}" for each in range(100)))
        assert isinstance(told, Refusal)
        assert (told.reason, told.metadata) == ("TENANT_LIMIT", {"limit": "import_rows_per_second", "value": "10"})
        assert told.retry_seconds is not None
        assert told.retry_seconds > 5


async def test_limits_change_with_the_policy_while_everything_runs(tmp_path: Path) -> None:
    async with stack_with(tmp_path, searches_per_second=2, rows=1) as stack:
        token = stack.issuer.token("tenant_a")
        assert (await until_refused(stack, token, "tenant_a")).metadata["value"] == "2"
        assert isinstance(await stored(stack, "d2"), Refusal)
        write_limits(stack.policy_folder, searches_per_second=5_000, rows=10)
        await until_limits_are(stack, searches_per_second=5_000, rows=10)
        for _ in range(30):
            assert await stack.ids(token, "tenant_a") == ["d1"]
        assert await stored(stack, "d2") == 1


async def test_several_gateways_each_give_their_part(tmp_path: Path) -> None:
    write_limits(tmp_path / "policy", searches_per_second=100, concurrent_calls=8)
    async with running_stack(tmp_path, VECSEC_GATEWAY_REPLICAS=4) as stack, AsyncExitStack() as exits:
        await stack.load("tenant_a", document("d1", "a plan"))
        await until_limits_are(stack, searches_per_second=100, concurrent_calls=8)
        assert (await usage_of(stack, "tenant_a")).gateway_replicas == 4
        token = stack.issuer.token("tenant_a", "admin", "SECRET", "loader")
        for number in range(2):
            other = stack.issuer.token("tenant_a", "admin", "SECRET", f"loader {number}")
            call = stack.gateway.ImportDocuments(metadata=bearer(other), timeout=SEARCH_SECONDS)
            exits.callback(call.cancel)
            request = gateway_pb2.ImportDocumentsRequest(tenant_id="tenant_a", documents=[document(f"s{number}", "t")])
            await call.write(request)
            await call.read()
        told = await refusal(stack.search(token, "tenant_a"))
        assert told.metadata == {"limit": "concurrent_calls", "value": "8"}


async def test_usage_is_for_those_who_may_configure_the_tenant(tmp_path: Path) -> None:
    async with stack_with(tmp_path) as stack:
        await stored(stack, "d2", "d3")
        usage = await usage_of(stack, "tenant_a")
        assert (usage.rows, usage.gateway_replicas, usage.concurrent_calls) == (3, 1, 1)
        assert usage.bytes > 10_000
        assert usage.searches_per_second > 0
        assert usage.import_rows_per_second > 0
        for token in (stack.issuer.token("tenant_a"), stack.issuer.token("tenant_b", "admin", "SECRET", "root")):
            request = gateway_pb2.GetTenantUsageRequest(tenant_id="tenant_a")
            told = await refusal(stack.gateway.GetTenantUsage(request, metadata=bearer(token), timeout=SEARCH_SECONDS))
            assert told.code is grpc.StatusCode.PERMISSION_DENIED
