"""Imports: batches, refusals, broken connections, bounded memory; the same through both clients."""

import asyncio
import random
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator
from itertools import chain

import grpc
import pytest
from support.cancelling_channel import CancellingChannel
from support.client_caller import QUICK, Caller, MakeCaller
from support.fake_gateway import Failure, FakeGateway, running
from support.waiting import PATIENCE_SECONDS, until_all_wait

import vecsec_client
from vecsec.type.v1 import document_pb2
from vecsec_client import AsyncVecSecClient, DocumentInput, DocumentsRejected, VecSecClient

MAX_STREAMS_OF_A_DENIAL = 2
"""Denials are not tried again; but where grpc.aio loses one on the way, it is asked for once more."""


def document(number: int, text: str = "some text") -> DocumentInput:
    return DocumentInput(document_id=f"d{number}", text=text, sensitivity="INTERNAL", topics=["rag"])


def documents(count: int, bad: tuple[int, ...] = ()) -> Iterator[DocumentInput]:
    return (document(number, "bad" if number in bad else "some text") for number in range(count))


def refuses_bad(sent: document_pb2.DocumentInput) -> tuple[str, str] | None:
    return ("text", "is bad") if sent.text == "bad" else None


def ids(numbers: Iterator[int] | range) -> set[str]:
    return {f"d{number}" for number in numbers}


async def test_everything_is_stored_and_progress_adds_up(caller: Caller, gateway: FakeGateway) -> None:
    progress = await caller.store(documents(25), batch_size=10)
    assert set(gateway.stored) == ids(range(25))
    assert [each.settled_count for each in progress] == [10, 20, 25]
    assert [each.stored_count for each in progress] == [10, 20, 25]
    assert gateway.batch_sizes == [10, 10, 5]
    assert gateway.streams == 1


async def test_every_field_travels(caller: Caller, gateway: FakeGateway) -> None:
    await caller.store(
        [
            DocumentInput(
                document_id="d",
                text="t",
                sensitivity="SECRET",
                topics={"rag"},
                attributes={"regions": {"us", "eu"}, "owner": "alice"},
                metadata={"page": 1, "flag": True, "weight": 0.5},
                embedding=[1.0, 0.0],
            )
        ]
    )
    stored = gateway.stored["d"]
    assert list(stored.topics) == ["rag"]
    assert list(stored.attributes["regions"].string_list_value.values) == ["eu", "us"]
    assert stored.attributes["owner"].string_value == "alice"
    assert stored.metadata["page"].integer_value == 1
    assert stored.metadata["flag"].boolean_value
    assert stored.metadata["weight"].number_value == 0.5
    assert list(stored.embedding) == [1.0, 0.0]


async def test_nothing_to_store_calls_nobody(caller: Caller, gateway: FakeGateway) -> None:
    assert await caller.store([]) == []
    assert gateway.streams == 0


@pytest.mark.parametrize("reads_ahead", [False, True])
@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED])
async def test_refused_documents_are_reported_and_the_rest_goes_on(
    caller: Caller, gateway: FakeGateway, reads_ahead: bool, code: grpc.StatusCode
) -> None:
    bad = (0, 13, 14, 57, 99)
    gateway.refusal_of, gateway.refusal_code, gateway.reads_ahead = refuses_bad, code, reads_ahead
    progress = await caller.store(documents(100, bad), batch_size=10)
    rejected = [each for step in progress for each in step.rejected]
    assert [(each.index, each.document_id, each.field) for each in rejected] == [(n, f"d{n}", "text") for n in bad]
    assert {each.reason for each in rejected} == {"is bad"}
    assert set(gateway.stored) == ids(range(100)) - {f"d{number}" for number in bad}
    assert (progress[-1].settled_count, progress[-1].stored_count, progress[-1].rejected_count) == (100, 95, 5)


async def test_one_violation_at_a_time_is_enough(caller: Caller, gateway: FakeGateway) -> None:
    """A service may name only the first bad document of a batch."""
    sent: list[int] = []

    def refuses_first_bad(each: document_pb2.DocumentInput) -> tuple[str, str] | None:
        sent.append(1)
        return refuses_bad(each)

    gateway.refusal_of = refuses_first_bad
    progress = await caller.store(documents(10, bad=(2, 5, 9)), batch_size=5)
    assert [each.index for step in progress for each in step.rejected] == [2, 5, 9]


async def test_a_batch_of_which_nothing_is_left_is_settled_in_its_turn(caller: Caller, gateway: FakeGateway) -> None:
    gateway.refusal_of = refuses_bad
    progress = await caller.store(documents(6, bad=(2, 3)), batch_size=2)
    assert [(each.settled_count, each.stored_count, each.rejected_count) for each in progress] == [
        (2, 2, 0),
        (4, 2, 2),
        (6, 4, 2),
    ]


async def test_what_cannot_be_sent_is_rejected_like_what_is_refused(caller: Caller, gateway: FakeGateway) -> None:
    strange = [
        document(0),
        document(1, "\ud800"),
        DocumentInput(document_id="d2", text="t", sensitivity="HIGH", topics=["rag"]),
        DocumentInput(document_id="d3", text="t", sensitivity="PUBLIC", topics=["rag"], metadata={"n": 1 << 70}),
        document(4, "x" * 5_000_000),
        document(5),
    ]
    progress = await caller.store(strange)
    rejected = [each for step in progress for each in step.rejected]
    assert [(each.index, each.field) for each in rejected] == [
        (1, "text"),
        (2, "sensitivity"),
        (3, "metadata['n']"),
        (4, "text"),
    ]
    assert set(gateway.stored) == {"d0", "d5"}


async def test_only_bad_documents_call_nobody(caller: Caller, gateway: FakeGateway) -> None:
    progress = await caller.store([document(number, "\ud800") for number in range(5)], batch_size=2)
    assert progress[-1].rejected_count == 5
    assert gateway.streams == 0


@pytest.mark.parametrize("reads_ahead", [False, True])
async def test_strict_ends_at_the_first_bad_batch(caller: Caller, gateway: FakeGateway, reads_ahead: bool) -> None:
    gateway.refusal_of, gateway.reads_ahead = refuses_bad, reads_ahead
    with pytest.raises(DocumentsRejected) as caught:
        await caller.store(documents(100, bad=(33, 35)), batch_size=10, strict=True)
    assert [each.index for each in caught.value.rejected] == [33, 35]
    assert ids(range(30)) <= set(gateway.stored)
    assert not ids(range(30, 40)) & set(gateway.stored)


async def test_strict_ends_before_what_cannot_be_sent(caller: Caller, gateway: FakeGateway) -> None:
    source = [document(number, "\ud800" if number == 12 else "text") for number in range(30)]
    with pytest.raises(DocumentsRejected) as caught:
        await caller.store(source, batch_size=5, strict=True)
    assert [each.index for each in caught.value.rejected] == [12]
    assert set(gateway.stored) == ids(range(10))


@pytest.mark.parametrize("cuts", [[0], [3], [0, 0, 0], [1, 2, 1]])
async def test_a_broken_connection_is_taken_up_where_it_was_left(
    caller: Caller, gateway: FakeGateway, cuts: list[int]
) -> None:
    gateway.cut_off_after = deque(cuts)
    progress = await caller.store(documents(100), batch_size=10)
    assert set(gateway.stored) == ids(range(100))
    assert [each.settled_count for each in progress] == list(range(10, 101, 10))
    assert progress[-1].stored_count == 100
    assert len(cuts) < gateway.streams <= len(cuts) + 2


async def test_a_connection_that_never_holds_fails(caller: Caller, gateway: FakeGateway) -> None:
    gateway.cut_off_after = deque([0] * 50)
    with pytest.raises(vecsec_client.Unavailable):
        await caller.store(documents(100), batch_size=10)
    assert gateway.streams <= QUICK.attempts + 1


async def test_progress_renews_the_patience(caller: Caller, gateway: FakeGateway) -> None:
    gateway.cut_off_after = deque([1] * 9)
    await caller.store(documents(100), batch_size=10)
    assert set(gateway.stored) == ids(range(100))


async def test_refusals_and_breaks_together(caller: Caller, gateway: FakeGateway) -> None:
    randomness = random.Random(7)
    for _ in range(10):
        bad = tuple(sorted(randomness.sample(range(60), 6)))
        gateway.stored.clear()
        gateway.refusal_of, gateway.reads_ahead = refuses_bad, randomness.random() < 0.5
        gateway.cut_off_after = deque(randomness.choice([1, 2, 9]) for _ in range(4))
        progress = await caller.store(documents(60, bad), batch_size=randomness.choice([1, 3, 7]))
        assert tuple(each.index for step in progress for each in step.rejected) == bad
        assert set(gateway.stored) == ids(range(60)) - {f"d{number}" for number in bad}
        assert progress[-1].stored_count == 54


async def test_a_denied_writer_stops_at_once(caller: Caller, gateway: FakeGateway) -> None:
    gateway.failures.extend([Failure(grpc.StatusCode.PERMISSION_DENIED, reason="ACCESS_DENIED")] * 9)
    with pytest.raises(vecsec_client.PermissionDenied):
        await caller.store(documents(10))
    assert gateway.streams <= MAX_STREAMS_OF_A_DENIAL


async def test_a_refusal_is_heard_even_while_writing(caller: Caller, gateway: FakeGateway) -> None:
    """grpc.aio loses the status of about every third such call (1.85); the import must not end with "internal"."""
    for _ in range(20):
        gateway.failures.extend([Failure(grpc.StatusCode.PERMISSION_DENIED, reason="ACCESS_DENIED")] * 2)
        with pytest.raises(vecsec_client.PermissionDenied):
            await caller.store(documents(50), batch_size=5)
        gateway.failures.clear()


async def test_an_explained_fault_is_not_tried_again(caller: Caller, gateway: FakeGateway) -> None:
    gateway.failures.extend([Failure(grpc.StatusCode.INTERNAL, reason="INTERNAL")] * 9)
    with pytest.raises(vecsec_client.Internal):
        await caller.store(documents(10))
    assert gateway.streams <= MAX_STREAMS_OF_A_DENIAL


async def test_a_bad_field_that_is_no_documents_ends_the_import(caller: Caller, gateway: FakeGateway) -> None:
    violations = (("documents[0].text", "bad"), ("collection_id", "bad"))
    gateway.failures.extend([Failure(grpc.StatusCode.INVALID_ARGUMENT, violations=violations)] * 9)
    with pytest.raises(vecsec_client.InvalidArgument):
        await caller.store(documents(10))


async def test_a_violation_beyond_the_batch_ends_the_import(caller: Caller, gateway: FakeGateway) -> None:
    failure = Failure(grpc.StatusCode.INVALID_ARGUMENT, violations=(("documents[99].text", "bad"),))
    gateway.failures.extend([failure] * 9)
    with pytest.raises(vecsec_client.InvalidArgument):
        await caller.store(documents(10))


async def test_a_token_that_runs_out_on_the_way_is_asked_for_again(
    make_caller: MakeCaller, gateway: FakeGateway
) -> None:
    tokens = iter(["first", "second"])
    expired = Failure(grpc.StatusCode.UNAUTHENTICATED, reason="INVALID_TOKEN")

    class Expiring(FakeGateway):
        def ImportDocuments(self, request_iterator, context):  # type: ignore[no-untyped-def]
            for number, answer in enumerate(super().ImportDocuments(request_iterator, context)):
                if self.streams == 1 and number == 2:
                    context.abort_with_status(expired.status())
                yield answer

    expiring = Expiring()
    with running(expiring) as address:
        await make_caller(address=address, token=lambda: next(tokens)).store(documents(50), batch_size=10)
    assert set(expiring.stored) == ids(range(50))
    assert [each.metadata["authorization"] for each in expiring.received] == ["Bearer first", "Bearer second"]


async def test_a_token_that_was_never_good_is_not_tried_again(caller: Caller, gateway: FakeGateway) -> None:
    gateway.failures.extend([Failure(grpc.StatusCode.UNAUTHENTICATED, reason="INVALID_TOKEN")] * 9)
    with pytest.raises(vecsec_client.Unauthenticated):
        await caller.store(documents(10))
    assert gateway.streams <= MAX_STREAMS_OF_A_DENIAL


async def test_answers_out_of_turn_are_a_fault(make_caller: MakeCaller) -> None:
    class Confused(FakeGateway):
        @staticmethod
        def _acknowledgement(number: int, stored: int):  # type: ignore[no-untyped-def]
            return FakeGateway._acknowledgement(number + 1, stored)

    with running(Confused()) as address, pytest.raises(vecsec_client.Internal, match="out of turn"):
        await make_caller(address=address).store(documents(3))


async def test_a_service_that_ends_early_is_not_taken_for_success(make_caller: MakeCaller) -> None:
    class Hasty(FakeGateway):
        def ImportDocuments(self, request_iterator, context):  # type: ignore[no-untyped-def]
            return iter(())

    with running(Hasty()) as address, pytest.raises(vecsec_client.Unavailable, match="ended the import"):
        await make_caller(address=address).store(documents(100), batch_size=1)


async def test_large_documents_travel_in_smaller_batches(caller: Caller, gateway: FakeGateway) -> None:
    await caller.store([document(number, "x" * 1_000_000) for number in range(10)], batch_size=1000)
    assert max(gateway.batch_sizes) <= 4
    assert set(gateway.stored) == ids(range(10))


async def test_several_batches_travel_at_once(make_caller: MakeCaller) -> None:
    class Collecting(FakeGateway):
        def ImportDocuments(self, request_iterator, context):  # type: ignore[no-untyped-def]
            first_three = [next(request_iterator) for _ in range(3)]
            for number, request in enumerate(chain(first_three, request_iterator), start=1):
                yield self._acknowledgement(number, len(request.documents))

    with running(Collecting()) as address:
        progress = await make_caller(address=address).store(documents(50), batch_size=10, timeout=60)
    assert progress[-1].stored_count == 50


@pytest.mark.parametrize("size", [0, 1001])
async def test_batch_size_has_limits(caller: Caller, size: int) -> None:
    with pytest.raises(vecsec_client.InvalidArgument, match="batch_size"):
        await caller.store(documents(1), batch_size=size)


async def test_an_import_is_done_and_summed_up(caller: Caller, gateway: FakeGateway) -> None:
    gateway.refusal_of = refuses_bad
    summary = await caller.call("import_documents", documents(10, bad=(3,)), batch_size=4)
    assert (summary.stored_count, summary.rejected_count) == (9, 1)
    assert [(each.index, each.reason) for each in summary.rejected] == [(3, "is bad")]
    assert len(gateway.stored) == 9


def test_the_source_is_read_no_further_than_the_window(address: str, gateway: FakeGateway) -> None:
    read = 0

    def source() -> Iterator[DocumentInput]:
        nonlocal read
        for each in documents(1000):
            read += 1
            yield each

    with VecSecClient(address, token="t", default_tenant="tenant_a") as client:
        progress = client.stream_import(source(), batch_size=10)
        assert read == 0
        next(progress)
        assert read <= 50
        progress.close()  # type: ignore[attr-defined]
    assert len(gateway.stored) <= 50


async def test_the_async_client_reads_async_sources_and_asks_async_providers(
    address: str, gateway: FakeGateway
) -> None:
    async def source() -> AsyncIterator[DocumentInput]:
        for each in documents(25):
            yield each

    async def token() -> str:
        return "from far away"

    async with AsyncVecSecClient(address, token=token, default_tenant="tenant_a") as client:
        with pytest.raises(vecsec_client.Unauthenticated):
            _ = [progress async for progress in client.stream_import(source())]

    async def good_token() -> str:
        return "t0ken"

    async with AsyncVecSecClient(address, token=good_token, default_tenant="tenant_a") as client:
        _ = [progress async for progress in client.stream_import(source(), batch_size=10)]
    assert set(gateway.stored) == ids(range(25))


def test_a_failing_source_shows_its_own_error(address: str) -> None:
    def source() -> Iterator[DocumentInput]:
        yield from documents(5)
        raise OSError("the disk is gone")

    with (
        VecSecClient(address, token="t", default_tenant="tenant_a") as client,
        pytest.raises(OSError, match="the disk is gone"),
    ):
        list(client.stream_import(source(), batch_size=2))


@pytest.mark.parametrize("listens_first", [False, True])
async def test_an_import_that_is_cancelled_as_its_stream_fails_is_not_taken_up_again(
    address: str, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, listens_first: bool
) -> None:
    if listens_first:  # what no service would say; the next stream waits a moment for what was lost
        gateway.failures.append(Failure(grpc.StatusCode.INTERNAL, "Internal error from Core"))
        gateway.failures.append(Failure(grpc.StatusCode.UNAVAILABLE))
    else:
        gateway.cut_off_after.append(0)
    channel = CancellingChannel(grpc.aio.insecure_channel(address), spared=int(listens_first))
    monkeypatch.setattr(grpc.aio, "insecure_channel", lambda *_arguments, **_options: channel)
    async with AsyncVecSecClient(address, token="t0ken", default_tenant="tenant_a", retry_policy=QUICK) as client:

        async def store() -> None:
            async for _ in client.stream_import(documents(1)):
                pass

        importing = asyncio.create_task(store())
        assert await channel.cancelled is importing
        await asyncio.wait([importing], timeout=PATIENCE_SECONDS)
        assert importing.cancelled()
    assert gateway.streams == 1 + listens_first


async def test_an_import_whose_stream_is_still_being_opened_ends_with_its_client() -> None:
    """The port takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = AsyncVecSecClient(f"127.0.0.1:{silent.getsockname()[1]}", token="t", default_tenant="tenant_a")

        async def store() -> None:
            async for _ in client.stream_import(documents(1)):
                pass

        silent.settimeout(PATIENCE_SECONDS)
        importing = asyncio.create_task(store())
        connection, _ = await asyncio.to_thread(silent.accept)
        with connection:
            await until_all_wait()
            assert not importing.done()
            await client.close()
            await asyncio.wait([importing], timeout=PATIENCE_SECONDS)
    assert importing.cancelled()
