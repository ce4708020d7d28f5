"""An agent that answers from a company's documents: a model picks tools, the user's token decides what they show.

    mcp-server-vecsec --http --resource http://127.0.0.1:8000/mcp --issuer https://login.example.org
    VECSEC_TOKEN=… python examples/agent_over_mcp.py http://127.0.0.1:8000/mcp "when does the merger close?"

The model here is scripted, so that this runs anywhere: put a real one in place of `ScriptedModel.next_step`, and give
it `tools` and `seen` as its API wants them.
"""

import asyncio
import os
import sys
from dataclasses import dataclass, field
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

MOST_STEPS = 5
"""A model that finds no end is stopped."""


@dataclass(frozen=True)
class ToolCall:
    """What the model wants to know."""

    tool: str
    arguments: dict[str, Any]


@dataclass
class ScriptedModel:
    """Searches, reads on what was cut, and quotes the nearest passage with its source."""

    question: str
    tools: list[str]
    seen: list[Any] = field(default_factory=list)
    """The answers of the tools so far."""

    def next_step(self) -> ToolCall | str:
        """A further call of a tool, or the answer."""
        if not self.seen:
            return ToolCall("search", {"query": self.question, "k": 3})
        passages = self.seen[0]["passages"]
        if not passages:
            return "I found nothing about it that you may read."
        nearest = passages[0]
        if nearest["next_offset"] is not None and len(self.seen) == 1:
            rest = {"document_ids": [nearest["source"]["document_id"]], "offset": nearest["next_offset"]}
            return ToolCall("read_documents", rest)
        text = nearest["text"] + "".join(part["text"] for more in self.seen[1:] for part in more["documents"])
        place = nearest["source"]["place"].get("path", nearest["source"]["document_id"])
        return f"{text} [{place}]"


async def ask(server: str, token: str, question: str) -> str:
    """The agent's answer to a user's question.

    Raises:
        RuntimeError: if a tool fails or the model comes to no end; it says what the tool said.
    """
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as http,
        Client(streamable_http_client(server, http_client=http)) as agent,
    ):
        model = ScriptedModel(question, [each.name for each in (await agent.list_tools()).tools])
        for _ in range(MOST_STEPS):
            step = model.next_step()
            if isinstance(step, str):
                return step
            result = await agent.call_tool(step.tool, step.arguments)
            if result.is_error:
                raise RuntimeError(f"{step.tool}: {result.content}")
            model.seen.append(result.structured_content)
    raise RuntimeError(f"no answer after {MOST_STEPS} calls of tools")


if __name__ == "__main__":
    print(asyncio.run(ask(sys.argv[1], os.environ["VECSEC_TOKEN"], sys.argv[2])))
