"""Answers from what the one who asks may read: a LlamaIndex query engine over VecSec, made for each request.

    VECSEC_TOKEN=… python examples/llama_index_rag.py localhost:50051 tenant_a "when does the merger close?"

The model here is a fake one that repeats the passages, so that this runs anywhere: put a real one in its place.
"""

import os
import sys
from typing import Any

from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.prompts import PromptTemplate

from llama_index.vector_stores.vecsec import VecSecVectorStore
from vecsec_client import VecSecClient

PROMPT = PromptTemplate("Answer by these passages alone.\n\n{context_str}\n\nQuestion: {query_str}")
NOTHING = "I found nothing about it that you may read."


class FakeModel(CustomLLM):
    """Repeats the passages of the prompt, word for word."""

    @property
    def metadata(self) -> LLMMetadata:
        """What a real model would say of its context window."""
        return LLMMetadata(model_name="fake")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The answer."""
        return CompletionResponse(text=prompt.partition("\n\n")[2].rpartition("\n\nQuestion:")[0])

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """The same, at once."""
        yield self.complete(prompt, formatted, **kwargs)


def ask(client: VecSecClient, token: str, question: str) -> tuple[str, list[str]]:
    """The answer for the user whose token this is, and the ids of the passages that it was made of.

    The index over a view costs next to nothing; the connection is the client's.
    """
    store = VecSecVectorStore(client.with_token(token))
    index = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(embed_dim=1))  # the services embed
    answer = index.as_query_engine(llm=FakeModel(), text_qa_template=PROMPT, similarity_top_k=3).query(question)
    sources = [each.node.node_id for each in answer.source_nodes]
    return (str(answer) if sources else NOTHING), sources


if __name__ == "__main__":
    gateway, tenant, question = sys.argv[1:]
    with VecSecClient(gateway, token=None, default_tenant=tenant) as client:
        text, sources = ask(client, os.environ["VECSEC_TOKEN"], question)
        print(text, *(f"[{each}]" for each in sources))
