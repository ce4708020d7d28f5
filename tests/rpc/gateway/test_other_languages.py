"""Stubs for other languages: the contract as one file that buf builds, and a program in TypeScript that searches."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.background_loop import BackgroundLoop
from support.envoy import HTTP, ROOT
from support.parts import find_program
from support.stack import Stack, document, running_stack
from support.waiting import COMMAND_SECONDS

EXAMPLE = ROOT / "examples" / "typescript"
CONTRACT = HTTP / "gateway.binpb"
Search = Callable[..., subprocess.CompletedProcess[str]]


def run(*command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    program = find_program(command[0])
    assert program is not None
    return subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        check=False,
        text=True,
        timeout=COMMAND_SECONDS,
    )


def test_buf_builds_the_contract_from_one_file_without_a_registry(tmp_path: Path) -> None:
    built = run("buf", "build", str(CONTRACT), "--output", "built.binpb", folder=tmp_path)
    assert built.returncode == 0, built.stderr
    listed = run("buf", "ls-files", str(CONTRACT), "--format", "import", folder=tmp_path).stdout
    assert "vecsec/gateway/v1/gateway_service.proto" in listed


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with ExitStack() as leaving:
        loop = BackgroundLoop()
        leaving.callback(loop.close)
        running, leave = loop.enter(running_stack(tmp_path_factory.mktemp("stack")))
        leaving.callback(leave)
        merger = document("merger", "The merger closes in May.", "SECRET", ("rag",))
        loop.run(running.load("tenant_a", merger, document("ranking", "Ranking is by cosine.", "PUBLIC", ("rag",))))
        yield running


@pytest.fixture(scope="module")
def search(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Search:
    """The example, made as docs/guides/other-languages.md says."""
    folder: Path = tmp_path_factory.mktemp("typescript") / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "gen", "built"))
    for command in (
        ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"),
        ("buf", "generate", str(CONTRACT)),
        ("npm", "exec", "tsc"),
    ):
        done = run(*command, folder=folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def ask(token: str, tenant: str = "tenant_a") -> subprocess.CompletedProcess[str]:
        gateway = f"127.0.0.1:{stack.gateway_service.port}"
        question = "when does the merger close?"
        return run("node", "built/search.js", gateway, tenant, question, folder=folder, VECSEC_TOKEN=token)

    return ask


@pytest.mark.node
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_program_in_typescript_searches_as_its_user(search: Search, stack: Stack) -> None:
    admin = search(stack.issuer.token("tenant_a", "admin", "SECRET", "root"))
    assert [line.split("  ")[1] for line in admin.stdout.splitlines()] == ["merger", "ranking"], admin.stderr
    guest = search(stack.issuer.token("tenant_a", "guest", "PUBLIC", "gus"))
    assert [line.split("  ")[1] for line in guest.stdout.splitlines()] == ["ranking"], guest.stderr
    stranger = search(stack.issuer.token("tenant_a", "guest", "PUBLIC", "gus"), "tenant_b")
    assert (stranger.returncode, stranger.stdout) == (1, "")
    assert stranger.stderr.startswith("PermissionDenied ACCESS_DENIED: ")
    assert search("").stderr.startswith("Unauthenticated INVALID_TOKEN: ")
