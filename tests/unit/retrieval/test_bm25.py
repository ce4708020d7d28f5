"""BM25 beside its formula, written down once more; and that words go with their rows."""

import math
import random
import tracemalloc
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from unit.retrieval.test_two_worlds import some_rows, some_text
from unit.retrieval.worlds import DIMENSIONS, delete, document, eyes, label, metrics, saved, up_to, upsert

from vecsec_chassis.domain.labels import Sensitivity
from vecsec_retrieval.memory.index import CollectionIndex, IndexChange
from vecsec_retrieval.memory.postings.later_postings import LaterPostings
from vecsec_retrieval.memory.postings.word_counts import MOST_COUNTED, WordCounts, counted_words
from vecsec_retrieval.model.embeddings import direction
from vecsec_retrieval.model.filters import Equals, MetadataFilter, of_document
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.search.fused_ranks import FUSED_DEPTH
from vecsec_retrieval.search.memory_reader import AnswerCache, MemoryReader
from vecsec_retrieval.search.reader import SearchAnswer, SearchOrder
from vecsec_retrieval.store_threads import StoreThreads
from vecsec_retrieval.words import words_of_query, words_of_text
from vecsec_retrieval.words.weights import (
    LENGTH_NORMALISATION,
    RANK_CONSTANT,
    SATURATION,
    TEXT_WEIGHT,
    VECTOR_WEIGHT,
)

SECRET = label(Sensitivity.SECRET)
PUBLIC = up_to(Sensitivity.PUBLIC)


def reference(rows: Sequence[Document], text: str) -> dict[str, float]:
    """The scores of rows that have a word in common with a text, by the formula."""
    words = {row.document_id: words_of_text(row.text) for row in rows}
    mean = sum(map(len, words.values())) / max(1, len(rows))
    scores: Counter[str] = Counter()
    for word in words_of_query(text).words:
        holding = [row_id for row_id, of_row in words.items() if word in of_row]
        weight = math.log(1 + (len(rows) - len(holding) + 0.5) / (len(holding) + 0.5))
        for row_id in holding:
            count = words[row_id].count(word)
            norm = 1 - LENGTH_NORMALISATION + LENGTH_NORMALISATION * len(words[row_id]) / mean
            scores[row_id] += weight * count * (SATURATION + 1) / (count + SATURATION * norm)
    return scores


async def ask(
    index: CollectionIndex,
    text: str,
    *,
    k: int = 1_000,
    vector: np.ndarray | None = None,
    metadata: MetadataFilter | None = None,
    residual: str = PUBLIC,
) -> SearchAnswer:
    with closing(StoreThreads(1, metrics().record_store_call)) as threads:
        reader = MemoryReader(index, threads, AnswerCache(0))
        order = SearchOrder(vector, k, metadata, words=words_of_query(text))
        return await reader.search(order, eyes(residual))


def scores_of(answer: SearchAnswer) -> Mapping[str, float]:
    return {each.document.document_id: each.score for each in answer.results}


@pytest.mark.parametrize("seed", range(10))
async def test_scores_are_those_of_the_formula_over_visible_rows(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    seen, hidden = some_rows(chance, "seen", 60, [label()]), some_rows(chance, "hidden", 90, [SECRET])
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [*hidden[:40], *seen[:30]])
    index = saved(index, tmp_path / "first.rows")
    upsert(index, [*seen[30:], *hidden[40:]])
    for condition in (None, Equals("n", 1)):
        for _ in range(20):
            text = some_text(chance)
            visible = [row for row in seen if condition is None or of_document(condition)(row)]
            expected = reference(visible, text)
            found = await ask(index, text, metadata=condition)
            assert scores_of(found) == pytest.approx(expected, rel=1e-12)
            in_order = [(-each.score, each.document.document_id) for each in found.results]
            assert in_order == sorted(in_order)
            assert [each.parts.text_rank for each in found.results] == list(range(1, len(expected) + 1))


async def test_words_go_with_rows_that_are_written_relabelled_deleted_and_saved(tmp_path: Path) -> None:
    index = CollectionIndex(DIMENSIONS)
    rows = [document(str(number), text=f"word{number % 3} common") for number in range(30)]
    upsert(index, rows)
    for step in range(3):
        kept = {row.document_id: row for row in rows if row.label == label()}
        assert scores_of(await ask(index, "common")) == pytest.approx(reference(list(kept.values()), "common"))
        index = saved(index, tmp_path / f"{step}.rows", mapped_from_bytes=(0, 2**30)[step % 2])
        assert scores_of(await ask(index, "word1")) == pytest.approx(reference(list(kept.values()), "word1"))
        rows[step] = document(str(step), text="another text, of other words")
        upsert(index, [rows[step]])
        rows[10 + step] = document(str(10 + step), text=rows[10 + step].text, of=SECRET)
        index.apply(IndexChange(index.position + 1, relabelled=[(str(10 + step), SECRET)]))
        gone = rows.pop()
        delete(index, [gone.document_id])
        assert gone.document_id not in scores_of(await ask(index, gone.text, residual=up_to(Sensitivity.SECRET)))
        assert rows[10 + step].document_id not in scores_of(await ask(index, "common"))


async def test_by_both_k_rows_are_found_and_ranks_are_fused() -> None:
    index = CollectionIndex(DIMENSIONS)
    chance = random.Random(1)
    rows = some_rows(chance, "row", 150, [label()])
    upsert(index, rows)
    vector = direction(np.array([chance.gauss(0, 1) for _ in range(DIMENSIONS)], dtype=np.float32))
    answer = await ask(index, "E0382 search", k=150, vector=vector)
    assert len(answer.results) == 150
    nearest = {each.document.document_id: each.parts.vector_score for each in answer.results}
    by_words = reference(rows, "E0382 search")
    for each in answer.results:
        parts, row_id = each.parts, each.document.document_id
        worth = 0.0 if parts.vector_rank is None else VECTOR_WEIGHT / (RANK_CONSTANT + parts.vector_rank)
        worth += 0.0 if parts.text_rank is None else TEXT_WEIGHT / (RANK_CONSTANT + parts.text_rank)
        assert each.score == pytest.approx(worth * (RANK_CONSTANT + 1) / (VECTOR_WEIGHT + TEXT_WEIGHT))
        assert parts.text_score == (pytest.approx(by_words[row_id]) if row_id in by_words else None)
        rank = 1 + sorted(nearest, key=lambda other: (-nearest[other], other)).index(row_id)
        # A row that is far behind by its vector is where its words put it.
        assert parts.vector_rank == (None if rank > FUSED_DEPTH and parts.text_rank is not None else rank)
    short = await ask(index, "E0382 search", k=5, vector=vector)
    assert [each.document.document_id for each in short.results] == [
        each.document.document_id
        for each in answer.results
        if (each.parts.vector_rank or 999) <= FUSED_DEPTH or (each.parts.text_rank or 999) <= FUSED_DEPTH
    ][:5]


async def test_phrases_stand_side_by_side() -> None:
    index = CollectionIndex(DIMENSIONS)
    texts = {"right": "the open file closes", "apart": "open the other file", "turned": "file open", "none": "nothing"}
    upsert(index, [document(row_id, text=text) for row_id, text in texts.items()])
    assert list(scores_of(await ask(index, '"open file"'))) == ["right"]
    assert set(scores_of(await ask(index, "open file"))) == {"right", "apart", "turned"}
    assert set(scores_of(await ask(index, '"open file'))) == {"right", "apart", "turned"}, "a quote that never ends"
    vector = direction(np.ones(DIMENSIONS, dtype=np.float32))
    both = await ask(index, '"open file"', vector=vector)
    assert (len(both.results), both.results[0].document.document_id) == (4, "right")


async def test_a_query_without_words_finds_by_vector_alone() -> None:
    index = CollectionIndex(DIMENSIONS)
    upsert(index, [document("one"), document("two")])
    vector = direction(np.ones(DIMENSIONS, dtype=np.float32))
    assert len((await ask(index, "?! …", vector=vector)).results) == 2
    assert not (await ask(index, "?! …")).results


def test_very_many_of_a_word_are_counted_as_some() -> None:
    [counted] = counted_words([document("many", text="word " * 70_000)])
    assert (dict(counted.items())["word"], counted.length) == (MOST_COUNTED, 70_000)


def test_a_batch_of_texts_of_different_words_takes_little_memory_when_it_is_counted() -> None:
    documents = [
        document(str(first), text="".join(map(chr, range(first, first + 20_000)))) for first in (20_000, 20_900)
    ]
    tracemalloc.start()
    counted = counted_words(documents)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [len(each.counts) for each in counted] == [39_999, 39_999], "pairs, and letters by themselves"
    assert kept < 10 * sum(len(each.counts) for each in counted)


def test_what_was_counted_is_told_word_by_word() -> None:
    counted, empty = WordCounts({"a": 300, "東京": 2}, 302), WordCounts({}, 0)

    assert list(counted.items()) == [("a", MOST_COUNTED), ("東京", 2)]
    assert (empty.words(), empty.counts) == ([], b"")


async def test_a_row_of_no_words_and_an_empty_collection(tmp_path: Path) -> None:
    index = CollectionIndex(DIMENSIONS)
    assert not (await ask(index, "word")).results
    empty = saved(index, tmp_path / "empty.rows")
    assert not (await ask(empty, "word")).results
    upsert(empty, [document("signs", text="?!"), document("word", text="word")])
    assert list(scores_of(await ask(saved(empty, tmp_path / "two.rows"), "word"))) == ["word"]


async def test_words_may_come_before_their_rows_and_are_found_with_them() -> None:
    first, second = (some_rows(random.Random(seed), f"seen{seed}", 30, [label()]) for seed in range(2))
    index, at_once = CollectionIndex(DIMENSIONS), CollectionIndex(DIMENSIONS)
    upsert(index, first)
    upsert(at_once, first)
    text = f"{first[0].text} {second[0].text}"
    before = await ask(index, text)
    words = counted_words(second)
    index.add_words(words)
    index.drop_moment()
    assert scores_of(await ask(index, text)) == scores_of(before)
    index.apply(IndexChange(2, upserted=second, words=words))
    upsert(at_once, second)
    assert scores_of(await ask(index, text)) == scores_of(await ask(at_once, text))


def test_who_reads_while_a_word_is_added_reads_whole_entries() -> None:
    later = LaterPostings()
    later.add(WordCounts({"word": 3}, 7))
    later._rows_and_counts["word"].append(1)  # the row; the writer has not come to how often it is there
    rows, counts = later.of("word", 2)
    assert (rows.tolist(), counts.tolist()) == ([0], [3])


async def test_pages_of_an_answer_by_both_are_the_answer() -> None:
    chance = random.Random(5)
    index = CollectionIndex(DIMENSIONS)
    rows = some_rows(chance, "seen", 400, [label()])
    upsert(index, rows)
    vector = direction(np.array([chance.gauss(0, 1) for _ in range(DIMENSIONS)], dtype=np.float32))
    text = " ".join(row.text for row in rows[:3])
    whole = await ask(index, text, k=400, vector=vector)
    assert len({each.document.document_id for each in whole.results}) == 400
    for k in (1, 10, FUSED_DEPTH, 2 * FUSED_DEPTH + 1):
        part = await ask(index, text, k=k, vector=vector)
        assert [(each.document.document_id, each.score, each.parts) for each in part.results] == [
            (each.document.document_id, each.score, each.parts) for each in whole.results[:k]
        ]
    scores = [each.score for each in whole.results]
    assert scores == sorted(scores, reverse=True)
