"""The size of an answer is never underrated."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.retrieval.worlds import document, label

from vecsec_chassis.domain.errors import LimitExceeded
from vecsec_retrieval import handlers
from vecsec_retrieval.model.rows import Document
from vecsec_retrieval.use_cases.documents import refuse_oversized_answer

TEXTS = st.text(max_size=300)
SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXTS)
LABELS = st.builds(
    lambda topics, name, values: label(topics=topics, **{name: values}),
    st.frozensets(TEXTS, max_size=5),
    st.sampled_from(["department", "x"]),
    st.one_of(TEXTS, st.booleans(), st.frozensets(TEXTS, max_size=5)),
)
DOCUMENTS = st.builds(
    lambda of, metadata, text, dimensions: replace(
        document("one", np.ones(dimensions, dtype=np.float32), of, metadata), text=text
    ),
    LABELS,
    st.dictionaries(TEXTS, SCALARS, max_size=5),
    TEXTS,
    st.integers(0, 40),
)


@given(st.lists(DOCUMENTS, min_size=1, max_size=3))
def test_what_is_let_through_is_no_larger_than_its_limit(documents: list[Document]) -> None:
    size = asyncio.run(handlers.get_response(documents)).ByteSize()
    with pytest.raises(LimitExceeded):
        refuse_oversized_answer(documents, size - 1)


def test_the_estimate_is_close_where_texts_are_long() -> None:
    documents = [document(str(number), text="ü" * 5_000) for number in range(10)]
    refuse_oversized_answer(documents, int(asyncio.run(handlers.get_response(documents)).ByteSize() * 1.05))


async def test_while_a_long_answer_is_made_others_get_their_turn() -> None:
    documents = [document(str(number)) for number in range(1_000)]
    making = asyncio.create_task(handlers.get_response(documents))
    turns = 0
    while not making.done():
        await asyncio.sleep(0)
        turns += 1
    assert len(making.result().documents) == 1_000
    assert turns >= 40
