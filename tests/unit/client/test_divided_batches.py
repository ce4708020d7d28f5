"""Where it is not said which source of a batch is refused, halves are sent."""

from collections.abc import Iterator

from vecsec_client import DocumentInput, RejectedDocument
from vecsec_client.importing.batches import Batch
from vecsec_client.importing.source_batches import SourceBatcher, later_half
from vecsec_client.sources import SourcePassage


def passages(*counts: int) -> Iterator[DocumentInput]:
    for number, count in enumerate(counts):
        for position in range(1, count + 1):
            source = SourcePassage(source_id=f"s{number}", position=position)
            yield DocumentInput(
                document_id=f"s{number}#{position}", text="x", sensitivity="PUBLIC", topics=["rag"], source=source
            )


def batch_of(*counts: int) -> Batch:
    batcher = SourceBatcher(1000)
    for each in passages(*counts):
        assert batcher.add(each) is None
    batch = batcher.rest()
    assert batch is not None
    return batch


def test_a_batch_is_divided_between_sources_and_all_of_it_is_in_one_half() -> None:
    batch = batch_of(1, 4, 1)
    batch.rejected = [RejectedDocument(index=at, document_id="", field="", reason="") for at in (0, 5)]
    later = later_half(batch)
    assert later is not None
    assert ([*batch.indices], batch.end, [*later.indices], later.end) == ([0], 1, [1, 2, 3, 4, 5], 6)
    assert ([each.index for each in batch.rejected], [each.index for each in later.rejected]) == ([0], [5])
    assert later_half(batch) is None
    last = later_half(later)
    assert last is not None
    assert (later.indices, later.end, last.indices, last.end) == ([1, 2, 3, 4], 5, [5], 6)
