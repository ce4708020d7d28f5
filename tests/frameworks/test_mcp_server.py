"""The MCP server with the SDK's own client, against real services: who gets what, whose token counts, how much."""

import asyncio
import json
import os
import runpy
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from support.background_loop import BackgroundLoop
from support.installation import free_ports
from support.issuer import AUDIENCE
from support.stack import Stack
from support.waiting import until, wait_until

from mcp_server_vecsec import HttpSettings, Settings, app_of_many_users, server_of_one_user
from mcp_server_vecsec.command import main
from vecsec_client import AsyncVecSecClient, DocumentInput, Unauthenticated, VecSecClient, VecSecError

SECRET_NOTE, OPEN_NOTE, LONG_NOTE = "The merger closes in May.", "Ranking is done by cosine.", "Long. " * 2_000
CHARACTERS = 3_000
CLEARANCES = {"guest": "PUBLIC", "analyst": "INTERNAL", "admin": "SECRET"}
ROOT = Path(__file__).parents[2]
HTTP = ("--http", "--issuer", "https://issuer.example", "--resource")
Token = Callable[..., str]


@pytest.fixture(scope="module")
def resource() -> str:
    (port,) = free_ports(1)
    return f"http://127.0.0.1:{port}/mcp"


@pytest.fixture(scope="module")
def token_of(stack: Stack, resource: str) -> Token:
    """Tokens for the MCP server, which the services take as they take those for themselves."""

    def make(role: str, tenant: str | None = "tenant_a", **claims: Any) -> str:
        return stack.issuer.token(tenant, role, CLEARANCES[role], role, **{"aud": resource, **claims})

    return make


@pytest.fixture(scope="module")
def address(stack: Stack, resource: str, token_of: Token) -> str:
    """The gateway, with documents of all sensitivities."""
    address = f"localhost:{stack.gateway_service.port}"
    issuers = json.loads(stack.issuer.issuers_file.read_text())
    del issuers["issuers"][0]["audience"]
    issuers["issuers"][0]["audiences"] = [AUDIENCE, resource]
    stack.issuer.issuers_file.write_text(json.dumps(issuers))
    with VecSecClient(address, token=token_of("admin"), default_tenant="tenant_a") as client:

        def is_taken() -> bool:
            try:
                client.list_collections()
            except Unauthenticated:
                return False
            return True

        wait_until(is_taken)
        rows = [
            ("merger", SECRET_NOTE, "SECRET", {"path": "board/merger.md", "year": 2026}),
            ("ranking", OPEN_NOTE, "PUBLIC", {"path": "wiki/ranking.md", "page": 3, "year": 2025, "kind": "memo"}),
            ("long", LONG_NOTE, "PUBLIC", {"year": 2024}),
        ]
        summary = client.import_documents(
            DocumentInput(document_id=name, text=text, sensitivity=level, topics=["rag"], metadata=metadata)  # type: ignore[arg-type]
            for name, text, level, metadata in rows
        )
    assert summary.stored_count == len(rows)
    return address


@pytest.fixture(scope="module")
def server(address: str, resource: str) -> Iterator[str]:
    """The server over HTTP, for many users."""
    port = int(resource.rpartition(":")[2].partition("/")[0])
    settings = HttpSettings(
        gateway=address, resource=resource, issuer="https://issuer.test", port=port, characters=CHARACTERS
    )
    running = uvicorn.Server(uvicorn.Config(app_of_many_users(settings), port=port, log_level="warning"))
    loop = BackgroundLoop()

    @asynccontextmanager
    async def serving() -> AsyncIterator[None]:
        task = asyncio.create_task(running.serve())
        await until(lambda: running.started)
        yield
        running.should_exit = True
        await task

    _, leave = loop.enter(serving())
    yield resource
    leave()
    loop.close()


@asynccontextmanager
async def connected(server: str, token: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as http_client,
        Client(streamable_http_client(server, http_client=http_client)) as client,
    ):
        yield client


async def found(client: Client, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool("search", {"query": "notes", "k": 10, **arguments})
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


def ids(answer: dict[str, Any]) -> set[str]:
    return {each["source"]["document_id"] for each in answer["passages"]}


async def told(client: Client, tool: str, **arguments: Any) -> str:
    """The error of a tool."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return result.content[0].text  # type: ignore[union-attr]


async def test_everybody_gets_over_one_server_what_they_may_read(server: str, token_of: Token) -> None:
    sees = {"guest": {"ranking", "long"}, "admin": {"ranking", "long", "merger"}}
    async with connected(server, token_of("guest")) as guest, connected(server, token_of("admin")) as admin:
        answers = await asyncio.gather(*(found(client) for client in [guest, admin] * 10))
        assert [ids(each) for each in answers] == [sees["guest"], sees["admin"]] * 10
        for client, known in ((guest, ["ranking"]), (admin, ["ranking", "merger"])):
            read = await client.call_tool("read_documents", {"document_ids": ["ranking", "merger", "absent"]})
            assert read.structured_content is not None
            assert [each["source"]["document_id"] for each in read.structured_content["documents"]] == known
            missing = [each for each in ("merger", "absent") if each not in known]
            assert read.structured_content["not_readable"] == missing, "hidden and absent are told alike"
        listed = await guest.call_tool("list_collections", {})
        assert listed.structured_content == {"collections": [{"collection": "documents", "documents": 2}]}


async def test_it_is_the_message_that_says_who_asks_not_the_connection(server: str, token_of: Token) -> None:
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token_of('admin')}"}) as http_client,
        Client(streamable_http_client(server, http_client=http_client)) as client,
    ):
        assert "merger" in ids(await found(client))
        http_client.headers["authorization"] = f"Bearer {token_of('guest')}"
        assert ids(await found(client)) == {"ranking", "long"}


async def test_each_passage_says_where_it_comes_from_and_that_it_is_real(server: str, token_of: Token) -> None:
    async with connected(server, token_of("guest")) as client:
        conditions = [{"key": "kind", "value": "memo"}, {"key": "year", "operator": "at_least", "value": 2025}]
        answer = await found(client, filter=conditions)
        assert answer["provenance"] == "PROVENANCE_REAL"
        assert answer["request_id"]
        (passage,) = answer["passages"]
        assert passage["text"] == OPEN_NOTE
        assert passage["source"] == {
            "tenant": "tenant_a",
            "collection": "documents",
            "document_id": "ranking",
            "place": {"path": "wiki/ranking.md", "page": 3},
        }
        assert (passage["sensitivity"], passage["topics"], passage["next_offset"]) == ("PUBLIC", ["rag"], None)
        assert passage["metadata"] == {"kind": "memo", "year": 2025}
        for condition in (
            {"key": "year", "operator": "at_least", "value": "x"},
            {"key": "year", "operator": "in", "value": 5},
            {"key": "year", "operator": "not", "value": 5},
            {"key": "year", "vlaue": 5},
        ):
            assert "filter" in await told(client, "search", query="x", filter=[condition])


async def test_answers_fit_into_a_models_context_and_long_documents_are_read_on(server: str, token_of: Token) -> None:
    async with connected(server, token_of("guest")) as client:
        answer = await found(client)
        assert sum(len(each["text"]) for each in answer["passages"]) <= CHARACTERS
        (long,) = (each for each in answer["passages"] if each["source"]["document_id"] == "long")
        text, offset = long["text"], long["next_offset"]
        while offset is not None:
            read = await client.call_tool("read_documents", {"document_ids": ["long"], "offset": offset})
            assert read.structured_content is not None
            (part,) = read.structured_content["documents"]
            assert len(part["text"]) <= CHARACTERS
            text, offset = text + part["text"], part["next_offset"]
        assert text == LONG_NOTE
        assert "less than or equal to 20" in await told(client, "search", query="x", k=1000)


async def test_the_example_of_an_agent_answers_each_user_with_what_that_user_may_read(
    server: str, token_of: Token
) -> None:
    example = ROOT / "examples" / "agent_over_mcp.py"
    assert len(example.read_text().splitlines()) <= 100
    ask = runpy.run_path(str(example))["ask"]
    question = "when does the merger close?"
    assert await ask(server, token_of("admin"), question) == f"{SECRET_NOTE} [board/merger.md]"
    assert "merger" not in await ask(server, token_of("guest"), question)
    assert await ask(server, token_of("admin", "tenant_b"), question) == "I found nothing about it that you may read."
    read_on = await ask(server, token_of("guest"), "Long. Long. Long.")
    assert read_on.endswith(" [long]")
    assert len(read_on) > CHARACTERS, "more than one answer holds"


async def test_why_something_is_not_to_be_seen_is_told_as_far_as_the_user_may_know(
    server: str, token_of: Token
) -> None:
    label = {"sensitivity": "SECRET", "topics": ["rag"]}
    async with connected(server, token_of("guest")) as guest, connected(server, token_of("admin")) as admin:
        refused = (await guest.call_tool("explain_access", label)).structured_content
        assert refused is not None
        assert (refused["allowed"], refused["reasons"], refused["remedies"]) == (False, [], [])
        assert refused["incident_id"]
        allowed = (await admin.call_tool("explain_access", label)).structured_content
        assert allowed is not None
        assert allowed["allowed"]
        assert allowed["reasons"]


async def test_without_a_token_for_this_server_there_is_nothing_but_the_way_to_one(
    server: str, stack: Stack, token_of: Token
) -> None:
    question = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    tokens = {
        "none": None,
        "nonsense": "nonsense",
        "for another": stack.issuer.token(),
        "expired": token_of("admin", exp=1),
        "forged": token_of("admin", key=Ed25519PrivateKey.generate()),
        "without a tenant": token_of("admin", None),
    }
    metadata = server.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    async with httpx2.AsyncClient() as http:
        for what, token in tokens.items():
            headers = {"accept": "application/json, text/event-stream"}
            headers |= {} if token is None else {"authorization": f"Bearer {token}"}
            answer = await http.post(server, json=question, headers=headers)
            assert answer.status_code == 401, what
            assert f'resource_metadata="{metadata}"' in answer.headers["www-authenticate"]
            assert answer.headers["www-authenticate"].startswith("Bearer ")
        told = (await http.get(metadata)).json()
        assert (told["resource"], told["authorization_servers"]) == (server, ["https://issuer.test"])
        evil = await http.post(server, json=question, headers=headers | {"host": "evil.example.org"})
        assert evil.status_code in {401, 421}


async def test_a_token_names_its_own_tenant_and_gets_no_other(server: str, token_of: Token) -> None:
    async with connected(server, token_of("admin", "tenant_b")) as client:
        assert (await found(client))["passages"] == []


async def test_while_nobody_can_verify_tokens_users_are_not_sent_to_sign_in_again(token_of: Token) -> None:
    resource = "http://127.0.0.1:1/mcp"
    settings = HttpSettings(gateway="localhost:1", resource=resource, issuer="https://issuer.test", timeout=0.5)
    transport = httpx2.ASGITransport(app_of_many_users(settings))
    async with httpx2.AsyncClient(transport=transport) as http:
        answer = await http.post(resource, headers={"authorization": f"Bearer {token_of('guest', aud=resource)}"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert (await http.post(resource)).status_code == 401


async def test_one_user_over_stdio_by_the_token_of_the_environment(address: str, token_of: Token) -> None:
    command = str(Path(sys.executable).with_name("mcp-server-vecsec"))
    environment = {
        "VECSEC_GATEWAY": address,
        "VECSEC_TOKEN": token_of("guest", aud=AUDIENCE),
        "PATH": os.environ["PATH"],
    }
    async with Client(StdioServerParameters(command=command, env=environment)) as client:
        tools = {each.name: each for each in (await client.list_tools()).tools}
        assert set(tools) == {"search", "read_documents", "list_collections", "explain_access"}
        assert all(each.annotations and each.annotations.read_only_hint for each in tools.values())
        assert ids(await found(client)) == {"ranking", "long"}


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        ((), {}, "no token: the environment variable VECSEC_TOKEN is not set"),
        ((*HTTP, "https://mcp.example/mcp"), {"VECSEC_TOKEN": "t"}, "all users bring their own tokens; unset it"),
        (("--http",), {}, "--http needs --resource"),
        ((*HTTP, "http://mcp.example/mcp"), {}, "resource: must be an https address"),
        (("--characters", "5"), {"VECSEC_TOKEN": "t"}, "characters: must be 1,000 to 1,000,000, not 5"),
    ],
)
def test_what_cannot_work_is_told_at_the_start(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("VECSEC_TOKEN", raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


async def test_nothing_is_made_up_for_a_model(address: str, stack: Stack, token_of: Token) -> None:
    settings = Settings(gateway=address)
    flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    async with settings.connect() as connection:
        server = server_of_one_user(settings, connection, lambda: token_of("guest"))
        async with Client(server) as client:
            stack.flag_file.write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))
            try:

                async def is_off() -> bool:
                    return bool((await client.call_tool("search", {"query": "x"})).is_error)

                await until(is_off)
                message = await told(client, "search", query="x")
            finally:
                stack.flag_file.write_text(json.dumps({"flags": {}}))
    assert "nothing is made up instead: real vector retrieval is switched off" in message


async def test_a_token_that_ends_meanwhile_is_told_as_such(address: str) -> None:
    settings = Settings(gateway=address, tenant="tenant_a")
    async with settings.connect() as connection:
        async with Client(server_of_one_user(settings, connection, lambda: "x.y.z")) as client:
            assert "sign in again" in await told(client, "list_collections")
        assert isinstance(connection, AsyncVecSecClient)
        with pytest.raises(VecSecError, match="client was made without one"):
            await connection.list_collections(tenant="tenant_a")
