"""Commands that import, as a user runs them, against the three real services."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.cli_command import Command
from support.stack import Stack, document, running_stack
from typer.testing import Result


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path / "stack") as running:
        yield running


async def run(
    stack: Stack, *arguments: str, role: str = "admin", tenant: str = "tenant_a", exit_code: int = 0
) -> Result:
    """`vecsec …` of a caller at its role's highest clearance, in a thread: the services live in this event loop."""
    clearance = {"guest": "PUBLIC", "analyst": "INTERNAL", "superuser": "CONFIDENTIAL", "admin": "SECRET"}[role]
    command = Command(
        {
            "VECSEC_GATEWAY": f"localhost:{stack.gateway_service.port}",
            "VECSEC_TOKEN": stack.issuer.token(tenant, role, clearance, role),
            "VECSEC_STATE_DIR": str(stack.folder / "state"),
            "COLUMNS": "200",
        }
    )
    return await asyncio.to_thread(command, *arguments, "--tenant", tenant, exit_code=exit_code)


async def texts(stack: Stack, *ids: str, tenant: str = "tenant_a") -> dict[str, str]:
    """Text by id of those documents that exist."""
    got = json.loads((await run(stack, "search", "x", "--k", "100", "--json", tenant=tenant)).stdout)
    return {each["document_id"]: each["text"] for each in got["results"] if not ids or each["document_id"] in ids}


async def exported_by_tenant_b(stack: Stack, folder: Path) -> str:
    await stack.load("tenant_b", document("same", "of b"), document("other", "of b too"))
    await run(stack, "tenant", "export", str(folder), tenant="tenant_b")
    return str(folder)


async def test_another_tenants_archive_is_refused_unless_that_is_said(stack: Stack, tmp_path: Path) -> None:
    await stack.load("tenant_a", document("own", "of a"))
    archive = await exported_by_tenant_b(stack, tmp_path / "b")
    refused = await run(stack, "tenant", "import", archive, exit_code=2)
    assert "is an archive of 'tenant_b'; its documents would become those of 'tenant_a'" in refused.stderr
    assert "--from-tenant tenant_b" in refused.stderr
    assert (
        "not of 'tenant_c'"
        in (await run(stack, "tenant", "import", archive, "--from-tenant", "tenant_c", exit_code=2)).stderr
    )
    assert await texts(stack) == {"own": "of a"}
    await run(stack, "tenant", "import", archive, "--from-tenant", "tenant_b")
    assert await texts(stack) == {"own": "of a", "same": "of b", "other": "of b too"}


async def test_what_another_tenants_archive_would_replace_is_named_and_kept(stack: Stack, tmp_path: Path) -> None:
    await stack.load("tenant_a", document("same", "of a"))
    archive = await exported_by_tenant_b(stack, tmp_path / "b")
    arguments = ("tenant", "import", archive, "--from-tenant", "tenant_b")
    refused = await run(stack, *arguments, exit_code=2)
    assert "documents of 'tenant_b' would replace 1 of 'tenant_a': documents/same" in refused.stderr
    assert await texts(stack) == {"same": "of a"}
    await run(stack, *arguments, "--overwrite")
    assert await texts(stack) == {"same": "of b", "other": "of b too"}


async def test_an_archive_goes_back_over_its_own_tenants_documents(stack: Stack, tmp_path: Path) -> None:
    archive = await exported_by_tenant_b(stack, tmp_path / "b")
    await stack.load("tenant_b", document("same", "changed since"))
    await run(stack, "tenant", "import", archive, tenant="tenant_b")
    assert await texts(stack, tenant="tenant_b") == {"same": "of b", "other": "of b too"}


async def test_a_files_own_label_holds_against_the_option(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "payroll.md").write_text("---\nsensitivity: secret\n---\nSalaries of all.")
    (folder / "news.md").write_text("---\ntitle: News\n---\nNews for all.")
    (folder / "typo.md").write_text("---\nsensitivity: SECERT\n---\nSalaries of all, again.")
    options = ("--sensitivity", "PUBLIC", "--topics", "marketing")
    told = await run(stack, "import", str(folder), *options, exit_code=1)
    assert "typo.md:2: sensitivity: unknown sensitivity 'SECERT'" in told.stderr
    guest = stack.issuer.token("tenant_a", "guest", "PUBLIC", "gus")
    assert await stack.ids(guest, "tenant_a", "salaries sensitivity secret") == ["news.md"]
    assert await texts(stack) == {"news.md": "News for all.", "payroll.md": "Salaries of all."}
