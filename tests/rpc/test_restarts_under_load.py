"""Gateway and retrieval restarted while the SDK searches and imports: no call fails but those that it tries again, no
answer is wrong, and nothing acknowledged is lost. For replicas of the policy service see `test_rolling_restart`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

from support.installation import free_ports
from support.new_store import ANY_TIME
from support.stack import SEARCH_SECONDS, Stack, document, running_stack
from support.waiting import until

from vecsec_chassis.rpc.server import RunningService
from vecsec_client import AsyncVecSecClient, DocumentInput, RetryPolicy, SearchAnswer, Unavailable
from vecsec_gateway.app import running_gateway
from vecsec_gateway.settings import GatewaySettings
from vecsec_retrieval.app import running_retrieval
from vecsec_retrieval.settings import RetrievalSettings

SEARCHES = 'vecsec_requests_total{code="OK",method="SearchDocuments"}'
PATIENT = RetryPolicy(attempts=50, initial_wait_seconds=0.05, longest_wait_seconds=0.5)
ONCE = RetryPolicy(attempts=1)
DOCUMENTS, BATCH = 400, 10


def gateway(stack: Stack, retrieval_port: int, port: int) -> AbstractAsyncContextManager[RunningService]:
    """A gateway before the stack's policy service and some retrieval service."""
    return running_gateway(
        GatewaySettings.model_validate(
            {
                "VECSEC_GATEWAY_PORT": port,
                "VECSEC_GATEWAY_METRICS_PORT": 0,
                "VECSEC_ISSUERS_FILE": stack.issuer.issuers_file,
                "VECSEC_POLICY_ADDRESS": f"localhost:{stack.policy_service.port}",
                "VECSEC_RETRIEVAL_ADDRESS": f"localhost:{retrieval_port}",
                "VECSEC_CIRCUIT_OPEN_SECONDS": 0.5,
                "VECSEC_POLICY_TIMEOUT_SECONDS": SEARCH_SECONDS,
                "VECSEC_RETRIEVAL_TIMEOUT_SECONDS": SEARCH_SECONDS,
                "VECSEC_SHUTDOWN_GRACE_SECONDS": 2,
            }
        )
    )


def retrieval(stack: Stack, port: int) -> AbstractAsyncContextManager[RunningService]:
    """A retrieval service with a store of its own."""
    return running_retrieval(
        RetrievalSettings.model_validate(
            {
                "VECSEC_RETRIEVAL_PORT": port,
                "VECSEC_RETRIEVAL_METRICS_PORT": 0,
                "VECSEC_GRANT_JWKS": str(stack.issuer.grant_jwks_file),
                "CHROMA_PATH": stack.folder / "restarted",
                "VECSEC_NEW_STORE_UNTIL": ANY_TIME,
                "VECSEC_SHUTDOWN_GRACE_SECONDS": 1,
            }
        )
    )


def client(stack: Stack, *ports: int, retries: RetryPolicy = PATIENT) -> AsyncVecSecClient:
    """An administrator's SDK before some gateways, which it takes in turn."""
    addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
    return AsyncVecSecClient(
        f"ipv4:{addresses}",
        token=stack.issuer.token("tenant_a", "admin", "SECRET"),
        default_tenant="tenant_a",
        retry_policy=retries,
        plaintext=True,
    )


def passage(document_id: str) -> DocumentInput:
    return DocumentInput(document_id=document_id, text="the plan", sensitivity="PUBLIC", topics=["rag"])


async def documents(go_on: asyncio.Event) -> AsyncIterator[DocumentInput]:
    """All of them, of which the second half waits for something."""
    for number in range(DOCUMENTS):
        if number == DOCUMENTS // 2:
            await go_on.wait()
        yield passage(f"d{number}")


async def until_working(is_so: Callable[[], bool], work: list[asyncio.Task[None]]) -> None:
    """Wait for something while work goes on; what the work raises is raised."""

    def is_so_at_work() -> bool:
        for each in work:
            if each.done():
                each.result()
        return is_so()

    await until(is_so_at_work)


async def test_gateways_are_restarted_one_by_one_without_a_failed_call(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack, AsyncExitStack() as exits:
        await stack.load("tenant_a", document("plan", "the plan"))
        port = stack.retrieval_service.port
        lives = [AsyncExitStack(), AsyncExitStack()]
        for life in lives:
            exits.push_async_callback(life.aclose)
        ports = free_ports(2)
        replicas = [
            await life.enter_async_context(gateway(stack, port, own)) for life, own in zip(lives, ports, strict=True)
        ]
        sdk = await exits.enter_async_context(client(stack, *ports))
        answers: list[SearchAnswer] = []
        done = asyncio.Event()

        async def search_on() -> None:
            while not done.is_set():
                answers.append(await sdk.search("plan", timeout=20))

        work = [asyncio.create_task(search_on()) for _ in range(3)]
        for number, life in enumerate(lives):
            await until_working(lambda: all(stack.metrics(each).get(SEARCHES, 0) > 5 for each in replicas), work)
            await life.aclose()
            alone = len(answers) + 30
            await until_working(lambda alone=alone: len(answers) >= alone, work)
            lives[number] = AsyncExitStack()
            exits.push_async_callback(lives[number].aclose)
            replicas[number] = await lives[number].enter_async_context(gateway(stack, port, ports[number]))
        await until_working(lambda: all(stack.metrics(each).get(SEARCHES, 0) > 5 for each in replicas), work)
        done.set()
        await asyncio.gather(*work)
        assert all(answer.is_real for answer in answers)
        assert {tuple(row.document_id for row in answer.results) for answer in answers} == {("plan",)}


async def test_retrieval_is_restarted_under_searches_and_an_import_and_nothing_acknowledged_is_lost(
    tmp_path: Path,
) -> None:
    async with running_stack(tmp_path) as stack, AsyncExitStack() as exits:
        life = AsyncExitStack()
        exits.push_async_callback(life.aclose)
        port, front_port = free_ports(2)
        await life.enter_async_context(retrieval(stack, port))
        front = await exits.enter_async_context(gateway(stack, port, front_port))
        sdk = await exits.enter_async_context(client(stack, front.port))
        hasty = await exits.enter_async_context(client(stack, front.port, retries=ONCE))
        async for _ in sdk.stream_import([passage("plan")], collection="fixed"):
            pass
        answers, refusals, acknowledged = list[SearchAnswer](), list[Unavailable](), [0]
        stopping, done = asyncio.Event(), asyncio.Event()

        async def search_on(*, allow_mock: bool) -> None:
            while not done.is_set():
                try:
                    answers.append(await hasty.search("plan", collection="fixed", allow_mock=allow_mock, timeout=20))
                except Unavailable as unavailable:
                    refusals.append(unavailable)
                    await asyncio.sleep(0.05)

        async def store() -> None:
            async for progress in sdk.stream_import(documents(stopping), batch_size=BATCH, strict=True):
                acknowledged[0] = progress.stored_count

        searching = [asyncio.create_task(search_on(allow_mock=each)) for each in (True, False)]
        storing = asyncio.create_task(store())
        await until_working(lambda: acknowledged[0] >= BATCH and len(answers) > 5, searching)
        assert not storing.done(), "the import is under way"
        stopping.set()
        await life.aclose()
        before = acknowledged[0]
        await until_working(lambda: bool(refusals) and not all(answer.is_real for answer in answers), searching)
        again = await exits.enter_async_context(retrieval(stack, port))
        assert again.port == port
        kept = await sdk.get_documents([f"d{number}" for number in range(before)][:100])
        assert {each.document_id for each in kept.documents} == {f"d{number}" for number in range(before)[:100]}
        await storing
        real = sum(answer.is_real for answer in answers)
        await until_working(lambda: sum(answer.is_real for answer in answers) > real + 5, searching)
        done.set()
        await asyncio.gather(*searching)

        assert all(error.retry_after is not None for error in refusals)
        for answer in answers:
            ids = [row.document_id for row in answer.results]
            assert ids == ["plan"] if answer.is_real else all(each.startswith("mock-") for each in ids)
        listed: set[str] = set()
        page_token = ""
        while page := await sdk.list_document_ids(page_size=200, page_token=page_token):
            listed |= set(page.document_ids)
            page_token = page.next_page_token
            if not page_token:
                break
        assert listed == {f"d{number}" for number in range(DOCUMENTS)}
