"""Answers from what the one who asks may read: a LangChain chain that retrieves, prompts a model and quotes sources.

    VECSEC_TOKEN=… python examples/langchain_rag.py localhost:50051 tenant_a "when does the merger close?"

The model here is a fake one that repeats the first passage, so that this runs anywhere: put a real one in its place.
"""

import os
import sys
from collections.abc import Sequence

from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from pydantic import SecretStr

from langchain_vecsec import VecSecVectorStore
from vecsec_client import VecSecClient

PROMPT = ChatPromptTemplate.from_template(
    "Answer by these passages alone. If they do not say it, say so.\n\n{passages}\n\nQuestion: {question}"
)
NOTHING = "(no passages)"


def fake_model(prompt: PromptValue) -> str:
    """The first passage of the prompt, word for word."""
    first = prompt.to_string().split("\n\n")[1]
    return "I found nothing about it that you may read." if first == NOTHING else first


def as_text(documents: Sequence[Document]) -> str:
    """The passages with the ids by which an answer quotes them."""
    return "\n\n".join(f"{each.page_content} [{each.id}]" for each in documents) or NOTHING


def chain_over(client: VecSecClient) -> Runnable[str, str]:
    """One chain for all users of a server: whose rows it finds, each run's configuration says."""
    retriever = VecSecVectorStore(client).as_retriever(k=3)
    passages = retriever | RunnableLambda(as_text)
    model = RunnableLambda(fake_model)
    return {"passages": passages, "question": RunnablePassthrough()} | PROMPT | model | StrOutputParser()


def ask(chain: Runnable[str, str], token: str, question: str) -> str:
    """The answer for the user whose token this is."""
    return chain.invoke(question, {"configurable": {"vecsec_token": SecretStr(token)}})


if __name__ == "__main__":
    gateway, tenant, question = sys.argv[1:]
    with VecSecClient(gateway, token=None, default_tenant=tenant) as client:
        print(ask(chain_over(client), os.environ["VECSEC_TOKEN"], question))
