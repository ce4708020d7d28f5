"""Views of one client: many callers over one connection, each with an identity of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import grpc
import pytest
from support.background_loop import BackgroundLoop
from support.client_caller import Caller
from support.stack import Stack, running_stack
from support.waiting import PATIENCE_SECONDS

from vecsec_client import (
    AsyncVecSecClient,
    DocumentInput,
    PermissionDenied,
    Sensitivity,
    Unauthenticated,
    VecSecClient,
    VecSecError,
)

ROUNDS = 30
LEVELS = [level.lower() for level in Sensitivity]
READS = {"guest": {"public"}, "analyst": {"public", "internal"}, "admin": set(LEVELS)}
CLEARANCES = {"guest": "PUBLIC", "analyst": "INTERNAL", "admin": "SECRET"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """With a row of each sensitivity."""
    loop = BackgroundLoop()
    stack, leave = loop.enter(running_stack(tmp_path_factory.mktemp("stack")))
    with VecSecClient(address_of(stack), token=token_of(stack, "admin"), default_tenant="tenant_a") as admin:
        rows = (note(level) for level in LEVELS)
        assert [step.stored_count for step in admin.stream_import(rows)] == [len(LEVELS)]
    yield stack
    leave()
    loop.close()


def note(level: str, document_id: str = "") -> DocumentInput:
    return DocumentInput(document_id=document_id or level, text="A note.", sensitivity=level.upper(), topics=["rag"])


def address_of(stack: Stack) -> str:
    return f"localhost:{stack.gateway_service.port}"


def token_of(stack: Stack, role: str, tenant: str = "tenant_a") -> str:
    return stack.issuer.token(tenant, role, CLEARANCES[role], role)


@pytest.fixture(params=[VecSecClient, AsyncVecSecClient])
async def owner(request: pytest.FixtureRequest, stack: Stack) -> AsyncIterator[Caller]:
    """A client that has no token of its own."""
    caller = Caller(request.param(address_of(stack), token=None, default_tenant="tenant_a"))
    yield caller
    await caller.call("close")


def view(owner: Caller, token: Any, **keywords: Any) -> Caller:
    return Caller(owner.client.with_token(token, **keywords))


async def found(caller: Caller) -> set[str]:
    return {row.document_id for row in (await caller.call("search", "note", k=10)).results}


async def test_concurrent_callers_over_one_connection_are_never_mixed(owner: Caller, stack: Stack) -> None:
    kept = {role: view(owner, token_of(stack, role)) for role in READS}

    async def searches(role: str) -> None:
        for number in range(ROUNDS):
            asking = view(owner, token_of(stack, role)) if number % 2 else kept[role]
            assert await found(asking) == READS[role]

    await asyncio.gather(*(searches(role) for role in READS for _ in range(2)))


async def test_a_provider_is_asked_in_the_context_of_the_call(owner: Caller, stack: Stack) -> None:
    """So that one view may serve a server whose framework keeps the request in a context variable."""
    token: ContextVar[str] = ContextVar("token")
    shared = view(owner, token.get)

    async def request(role: str) -> None:
        token.set(token_of(stack, role))
        for _ in range(5):
            assert await found(shared) == READS[role]

    await asyncio.gather(*(asyncio.create_task(request(role)) for role in READS))


async def test_views_import_under_their_own_token(owner: Caller, stack: Stack) -> None:
    with pytest.raises(PermissionDenied):
        await view(owner, token_of(stack, "analyst")).store([note("public", "by-the-analyst")])
    admin = view(owner, token_of(stack, "admin"))
    assert (await admin.store([note("public", "by-the-admin")]))[-1].stored_count == 1
    got = await admin.call("get_documents", ["by-the-analyst", "by-the-admin"])
    assert [each.document_id for each in got.documents] == ["by-the-admin"]
    assert (await admin.call("delete_documents", ["by-the-admin"])).deleted_count == 1


async def test_a_view_may_be_of_another_tenant(owner: Caller, stack: Stack) -> None:
    other = view(owner, token_of(stack, "admin", "tenant_b"), default_tenant="tenant_b")
    assert await other.call("list_collections") == ()
    with pytest.raises(PermissionDenied):
        await view(owner, token_of(stack, "admin", "tenant_b")).call("list_collections")


async def test_a_client_without_a_token_calls_nothing_itself(owner: Caller, stack: Stack) -> None:
    with pytest.raises(Unauthenticated, match="with_token"):
        await found(owner)
    with pytest.raises(Unauthenticated, match="with_token"):
        await owner.store([note("public", "nobodys")])
    for nothing in (None, b"token", 7):
        with pytest.raises(TypeError, match="token: must be a text"):
            view(owner, nothing)
    for useless in ("", " ", "a b"):
        with pytest.raises(Unauthenticated):
            await found(view(owner, useless))
    with pytest.raises(Unauthenticated):
        await found(view(owner, lambda: None))
    assert await found(view(view(owner, ""), token_of(stack, "guest"))) == READS["guest"]


async def test_closing_a_view_leaves_its_owner_and_closing_the_owner_ends_all(owner: Caller, stack: Stack) -> None:
    ended, other = view(owner, token_of(stack, "guest")), view(owner, token_of(stack, "admin"))
    await ended.call("close")
    for closed in (lambda: found(ended), lambda: ended.store([note("public", "late")])):
        with pytest.raises(VecSecError, match="closed") as caught:
            await closed()
        assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert await found(other) == READS["admin"]
    assert await found(view(ended, token_of(stack, "guest"))) == READS["guest"]
    await owner.call("close")
    with pytest.raises(VecSecError, match="closed"):
        await found(other)


def test_an_async_client_may_be_made_before_any_loop_and_outlive_several(stack: Stack) -> None:
    client = AsyncVecSecClient(address_of(stack), token=token_of(stack, "analyst"), default_tenant="tenant_a")
    importing = client.with_token(token_of(stack, "admin")).stream_import([note("public", "early")])

    async def asks() -> set[str]:
        return await found(Caller(client))

    for _ in range(3):
        assert asyncio.run(asks()) == READS["analyst"]

    async def stores() -> list[int]:
        counts = [step.stored_count async for step in importing]
        await client.with_token(token_of(stack, "admin")).delete_documents(["early"])
        await client.close()
        return counts

    assert asyncio.run(stores()) == [1]
    with pytest.raises(VecSecError, match="closed"):
        asyncio.run(asks())


def test_an_async_client_serves_loops_of_several_threads_at_once(stack: Stack) -> None:
    client = AsyncVecSecClient(address_of(stack), token=None, default_tenant="tenant_a")
    answers: dict[str, list[set[str]]] = {role: [] for role in READS}
    started = threading.Barrier(len(READS))

    def thread(role: str) -> None:
        async def asks() -> None:
            started.wait(PATIENCE_SECONDS)
            for _ in range(5):
                answers[role].append(await found(Caller(client.with_token(token_of(stack, role)))))

        asyncio.run(asks())

    threads = [threading.Thread(target=thread, args=[role]) for role in READS]
    for each in threads:
        each.start()
    for each in threads:
        each.join(PATIENCE_SECONDS)
    assert answers == {role: [READS[role]] * 5 for role in READS}
    asyncio.run(client.close())


async def test_closing_reaches_the_loops_of_other_threads(stack: Stack) -> None:
    client = AsyncVecSecClient(address_of(stack), token=token_of(stack, "guest"), default_tenant="tenant_a")
    other = BackgroundLoop()
    try:
        assert other.run(found(Caller(client))) == READS["guest"]
        ((channel, _),) = client._channel._opened.values()
        await client.close()
        with pytest.raises(VecSecError, match="closed"):
            other.run(found(Caller(client)))
        assert other.run(is_shut_down(channel))
    finally:
        other.close()


async def is_shut_down(channel: grpc.aio.Channel) -> bool:
    """Waits for it."""
    while (state := channel.get_state()) is not grpc.ChannelConnectivity.SHUTDOWN:
        await channel.wait_for_state_change(state)
    return True
