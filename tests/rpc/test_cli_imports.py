"""Commands that import, as a user runs them, against the three real services."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import documents
from support.installation import vecsec_command
from support.stack import Stack, document, running_stack


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path / "stack") as running:
        yield running


@dataclass(frozen=True)
class Told:
    stdout: str
    stderr: str


async def run(stack: Stack, *arguments: str, role: str = "admin", tenant: str = "tenant_a", exit_code: int = 0) -> Told:
    """`vecsec …` of a caller at its role's highest clearance."""
    clearance = {"guest": "PUBLIC", "analyst": "INTERNAL", "superuser": "CONFIDENTIAL", "admin": "SECRET"}[role]
    process = await asyncio.create_subprocess_exec(
        vecsec_command(),
        *(*arguments, "--tenant", tenant),
        env={
            **os.environ,
            "VECSEC_GATEWAY": f"localhost:{stack.gateway_service.port}",
            "VECSEC_TOKEN": stack.issuer.token(tenant, role, clearance, role),
            "VECSEC_STATE_DIR": str(stack.folder / "state"),
            "COLUMNS": "200",
        },
        cwd=stack.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == exit_code, stderr.decode()
    return Told(stdout.decode(), stderr.decode())


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
    assert await texts(stack) == {"news.md": "News\n\nNews for all.", "payroll.md": "Salaries of all."}


OPTIONS = ("--topics", "marketing")
PUBLIC = (*OPTIONS, "--sensitivity", "PUBLIC")
LONG = [f"# Part {number}\n" + f"word{number} " * 200 for number in range(4)]
"""Each a passage of its own."""


def write(folder: Path, files: Mapping[str, str | None]) -> str:
    """Write files, or remove those that are None."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).unlink(missing_ok=True)
        if text is not None:
            (folder / name).write_text(text)
    return str(folder)


async def import_folder(
    stack: Stack, folder: str, *options: str, role: str = "admin", exit_code: int = 0
) -> dict[str, Any]:
    told = await run(stack, "import", folder, *options, "--json", role=role, exit_code=exit_code)
    answer: dict[str, Any] = json.loads(told.stdout)
    return answer


async def found_by(stack: Stack, role: str, clearance: str) -> set[str]:
    return set(await stack.ids(stack.issuer.token("tenant_a", role, clearance, "reader"), "tenant_a", "word", k=100))


async def test_a_file_that_became_shorter_leaves_no_passage_behind(stack: Stack, tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", {"a.md": "\n\n".join(LONG), "b.md": "\n\n".join(LONG), "c.md": "short"})
    assert (await import_folder(stack, folder, *PUBLIC))["removed"] == 0
    write(tmp_path / "docs", {"a.md": "\n\n".join(LONG[:2]), "b.md": "short now", "c.md": "\n\n".join(LONG)})
    again = await import_folder(stack, folder, *OPTIONS, "--sensitivity", "SECRET")
    assert (again["removed"], again["stored"], again["staying"]) == (2 + 3, 7, {})
    assert await found_by(stack, "guest", "PUBLIC") == set(), "the label given anew is that of all passages"
    expected = {"a.md#1", "a.md#2", "b.md", "c.md#1", "c.md#2", "c.md#3", "c.md#4"}
    assert await found_by(stack, "admin", "SECRET") == expected


async def test_what_stays_of_files_that_are_gone_or_refused_is_said(stack: Stack, tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", {"a.md": "word a", "gone.md": "\n\n".join(LONG), "b.md": "\n\n".join(LONG)})
    await import_folder(stack, folder, *PUBLIC)
    write(tmp_path / "docs", {"gone.md": None, "b.md": "---\nsensitivity: SECERT\n---\nword"})
    told = await run(stack, "import", folder, *PUBLIC, exit_code=1)
    assert "8 passages of earlier imports stay as they are, of 2 files" in told.stderr
    assert "b.md, gone.md" in told.stderr
    for _ in range(2):
        again = await import_folder(stack, folder, *PUBLIC, exit_code=1)
        assert (again["removed"], again["staying"]) == (0, {"b.md": 4, "gone.md": 4})
    await stack.load("tenant_a", document("other.md", "nobody imported this as a file"))
    pruned = await import_folder(stack, folder, *PUBLIC, "--prune", exit_code=1)
    assert pruned["removed"] == 4
    assert pruned["staying"] == {"b.md": 4}, "what was not read today is there all the same"
    assert "other.md" in await texts(stack), "nor is what others stored any of an import's business"


async def test_an_empty_folder_is_taken_for_a_volume_that_is_not_there(stack: Stack, tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", {"a.md": "word a", "b.md": "word b", "c.md": "word c"})
    await import_folder(stack, folder, *PUBLIC)
    write(tmp_path / "docs", {"a.md": None, "b.md": None})
    refused = await import_folder(stack, folder, *PUBLIC, "--prune", exit_code=1)
    assert (refused["removed"], "2 of 3 files would go" in refused["not_pruned"]) == (0, True)
    write(tmp_path / "docs", {"c.md": None})
    told = await run(stack, "import", folder, *PUBLIC, "--prune", exit_code=1)
    assert "nothing was pruned: the folder has no file at all" in told.stderr
    assert set(await texts(stack)) == {"a.md", "b.md", "c.md"}
    assert (await import_folder(stack, folder, *PUBLIC, "--prune-all"))["removed"] == 3
    assert await texts(stack) == {}


async def test_what_is_stored_is_asked_of_the_store(stack: Stack, tmp_path: Path) -> None:
    """Nothing that is remembered here hides what others did since."""
    folder = write(tmp_path / "docs", {"a.md": "\n\n".join(LONG), "b.md": "word b"})
    await import_folder(stack, folder, *PUBLIC)
    assert not list((stack.folder / "state").glob("imports/*"))
    again = await import_folder(stack, folder, *PUBLIC)
    assert (again["stored"], again["skipped"], again["removed"]) == (0, 5, 0)
    copy = write(tmp_path / "copy", {"a.md": "\n\n".join(LONG[:3]), "b.md": "word b"})
    changed = await import_folder(stack, copy, *PUBLIC)
    assert (changed["stored"], changed["skipped"], changed["removed"]) == (3, 1, 1)
    assert (await import_folder(stack, folder, *PUBLIC))["stored"] == 4
    await run(stack, "delete", "a.md#2", "--yes")
    mended = await import_folder(stack, folder, *PUBLIC)
    assert (mended["stored"], mended["skipped"]) == (4, 1), "a passage that is missing shows in the count"
    assert (await import_folder(stack, folder, *PUBLIC, "--restart"))["stored"] == 5
    assert (await import_folder(stack, folder, *OPTIONS, "--sensitivity", "SECRET"))["stored"] == 5
    assert await found_by(stack, "guest", "PUBLIC") == set()


async def test_who_may_write_replaces_a_file_and_who_may_not_write_all_of_it_leaves_it(
    stack: Stack, tmp_path: Path
) -> None:
    folder = write(tmp_path / "docs", {"a.md": "\n\n".join(LONG), "b.md": "word old"})
    await import_folder(stack, folder, *PUBLIC, role="superuser")
    write(tmp_path / "docs", {"a.md": "short now"})
    assert (await import_folder(stack, folder, *PUBLIC, role="superuser"))["removed"] == 3
    await run(stack, "sources", "relabel", "a.md", "--sensitivity", "SECRET", "--yes")
    before = await texts(stack)
    write(tmp_path / "docs", {"a.md": "short again", "b.md": "word new"})
    told = await run(stack, "import", folder, *PUBLIC, role="superuser", exit_code=1)
    assert "a.md: may not be written by this caller" in told.stderr
    assert await texts(stack) == {**before, "b.md": "word new"}


async def test_threat_26_an_edit_does_not_undo_a_relabelling(stack: Stack, tmp_path: Path) -> None:
    """What a file does not say of itself, it keeps; nothing becomes less sensitive in silence."""
    own = "---\nsensitivity: INTERNAL\n---\nword"
    folder = write(tmp_path / "docs", {"a.md": "word", "own.md": own, "b.md": "word"})
    await import_folder(stack, folder, *PUBLIC)
    for name in ("a.md", "own.md"):
        arguments = ("--sensitivity", "SECRET", "--reader", "user:admin", "--yes")
        await run(stack, "sources", "relabel", name, *arguments)
    write(tmp_path / "docs", {"a.md": "word, mended", "own.md": own + ", mended", "b.md": "word, mended"})
    told = await run(stack, "import", folder, *PUBLIC)
    assert (
        "files keep the label that they have in the store, where the options say another: a.md, own.md" in told.stderr
    )
    assert "1 files say of themselves that they are less sensitive" in told.stderr
    assert await found_by(stack, "superuser", "CONFIDENTIAL") == {"b.md"}
    again = await import_folder(stack, folder, *OPTIONS, "--sensitivity", "CONFIDENTIAL")
    assert (again["stored"], again["kept_labels"]) == (3, ["a.md", "own.md"])
    assert await found_by(stack, "analyst", "INTERNAL") == set(), "the option's, where it is the higher one"
    assert (await import_folder(stack, folder, *OPTIONS, "--sensitivity", "CONFIDENTIAL"))["stored"] == 0
    relabelled = await import_folder(stack, folder, *OPTIONS, "--sensitivity", "CONFIDENTIAL", "--relabel")
    assert (relabelled["stored"], relabelled["kept_labels"]) == (2, []), "b.md has that label already"
    assert await found_by(stack, "superuser", "CONFIDENTIAL") == {"a.md", "own.md", "b.md"}


async def test_a_file_of_more_passages_than_a_source_may_have_is_several(stack: Stack, tmp_path: Path) -> None:
    """They are replaced one after the other, and what is too many of them goes."""
    text = "\n\n".join(f"Paragraph {number}. " + "word " * 25 for number in range(1_300))
    folder = write(tmp_path / "docs", {"large.md": text, "small.md": "word"})
    short = ("--passage-size", "150", "--overlap", "0", "--batch-size", "1000")
    assert (await import_folder(stack, folder, *PUBLIC, *short))["stored"] == 1_301
    listed = [json.loads(line) for line in (await run(stack, "sources", "list", "--json")).stdout.splitlines()]
    assert [(each["source_id"], each["document_count"]) for each in listed] == [
        ("large.md", 1_000),
        ("large.md#part2", 300),
        ("small.md", 1),
    ]
    again = await import_folder(stack, folder, *PUBLIC, *short)
    assert (again["stored"], again["skipped"], again["staying"]) == (0, 1_301, {})
    # THREAT 26: what is said of a file holds for all of its parts.
    await run(stack, "sources", "relabel", "large.md", "--sensitivity", "SECRET", "--yes")
    assert await found_by(stack, "analyst", "INTERNAL") == {"small.md"}
    shown = (await run(stack, "sources", "show", "large.md", "--json")).stdout.splitlines()
    assert [json.loads(line)["source"]["position"] for line in shown] == list(range(1, 1_301))
    assert "would delete 300 doc" in (await run(stack, "sources", "delete", "large.md#part2", "--dry-run")).stdout
    assert "would delete 1,300 doc" in (await run(stack, "sources", "delete", "large.md", "--dry-run")).stdout
    write(tmp_path / "docs", {"large.md": "short"})
    assert (await import_folder(stack, folder, *PUBLIC, *short))["removed"] == 1_299
    assert set(await texts(stack)) == {"large.md", "small.md"}


async def test_sources_on_the_command_line(stack: Stack, tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", {"a.md": "\n\n".join(LONG), "b.md": "---\ntitle: Bees\n---\nword"})
    await import_folder(stack, folder, *PUBLIC)
    table = " ".join((await run(stack, "sources", "list")).stdout.split())
    assert "a.md │ 4 │ PUBLIC" in table
    assert "Bees" in table
    shown = [json.loads(line) for line in (await run(stack, "sources", "show", "a.md", "--json")).stdout.splitlines()]
    assert [(each["document_id"], each["source"]["position"]) for each in shown] == [
        (f"a.md#{number}", number) for number in range(1, 5)
    ]
    await run(stack, "sources", "show", "c.md", exit_code=5)
    await run(stack, "sources", "delete", "a.md", exit_code=2)
    assert "would delete 4 documents" in (await run(stack, "sources", "delete", "a.md", "--dry-run")).stdout
    assert (await run(stack, "sources", "delete", "a.md", "--yes")).stdout == "deleted 4 documents\n"
    assert set(await texts(stack)) == {"b.md"}


async def test_what_no_folder_stored_is_not_deleted(stack: Stack, tmp_path: Path) -> None:
    """A row may be called as a passage is; a row of another collection or tenant is none of this import's business."""
    folder = write(tmp_path / "docs", {"a.md": "\n\n".join(LONG)})
    await import_folder(stack, folder, *PUBLIC, "--collection", "other")
    await stack.load("tenant_a", document("a.md#9", "word of a table"))
    await stack.load("tenant_b", document("a.md#9", "word of b"))
    write(tmp_path / "docs", {"a.md": "short now"})
    assert (await import_folder(stack, folder, *PUBLIC))["removed"] == 0
    assert await texts(stack) == {"a.md": "short now", "a.md#9": "word of a table"}
    assert await texts(stack, tenant="tenant_b") == {"a.md#9": "word of b"}
    elsewhere = json.loads((await run(stack, "get", "a.md#4", "--collection", "other", "--json")).stdout)
    assert elsewhere["missing"] == []


async def test_an_import_that_breaks_off_leaves_what_was_there_and_goes_on(stack: Stack, tmp_path: Path) -> None:
    folder = write(tmp_path / "docs", {"a.md": "\n\n".join(LONG)})
    await import_folder(stack, folder, *PUBLIC)
    write(tmp_path / "docs", {"a.md": "\n\n".join(LONG[:1]), "b.md": "word"})
    before = await texts(stack)
    wrong = ("--sensitivity", "SECRET", *OPTIONS, "--embedding-model", "no-such-model")
    await run(stack, "import", folder, *wrong, exit_code=2)
    assert await texts(stack) == before, "what was not stored has replaced nothing"
    again = await import_folder(stack, folder, *OPTIONS, "--sensitivity", "SECRET")
    assert (again["stored"], again["staying"]) == (2, {})
    assert await found_by(stack, "guest", "PUBLIC") == set()


async def test_a_tree_of_many_formats_comes_in_and_what_was_not_read_is_said(stack: Stack, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    page = "<title>Handbook</title><h1>Ranking</h1><p>word</p>"
    folder = write(tree, {"page.html": page, "notes.rst": "A\n=\n\nword"})
    write(tree, {"rows.csv": "id;text\nrow-1;word of a row\n", "x.png": "", ".hidden.md": "word", "README": "word"})
    documents.pdf(tree / "a.pdf", "word on paper", title="Paper")
    documents.pdf(tree / "b.pdf", "word", password="secret")
    documents.word(tree / "c.docx")
    told = await run(stack, "import", folder, *PUBLIC, exit_code=1)
    assert "stored 7 of 8 documents, 1 rejected" in told.stdout
    table = [" ".join(line.replace("│", " ").split()) for line in told.stdout.splitlines()]
    assert "not read: 3 files and folders" in table
    assert ".md hidden; --hidden reads it 1 .hidden.md" in table
    assert ".pdf is encrypted 1 b.pdf" in table
    assert ".png no reader; --read-as names one 1 x.png" in table
    assert f"{tree / 'b.pdf'}: is encrypted" in told.stderr
    found = await texts(stack)
    assert set(found) == {"README", "a.pdf", "c.docx#1", "c.docx#2", "notes.rst", "page.html", "row-1"}
    assert found["page.html"] == "Handbook\n\n# Ranking\n\nword"
    assert found["a.pdf"] == "Paper\n\nword on paper"
    again = await import_folder(stack, folder, *PUBLIC, "--exclude", "*.png", "--exclude", ".*", exit_code=1)
    assert sorted(each["reason"] for each in again["unread"]) == ["--exclude", "--exclude", "is encrypted"]
    (tree / "b.pdf").unlink()
    clean = await import_folder(stack, folder, *PUBLIC, "--exclude", "*.png", "--exclude", ".*")
    assert (clean["rejected_count"], clean["staying"]) == (0, {})


async def test_rows_that_grow_and_shrink_leave_nothing_behind(stack: Stack, tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"

    async def imported(*lengths: int, options: tuple[str, ...] = ()) -> int:
        rows = [{"id": f"r{number}", "text": "A word here. " * length} for number, length in enumerate(lengths)]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        removed: int = (await import_folder(stack, str(source), *PUBLIC, *options))["removed"]
        return removed

    assert await imported(600, 1, options=("--no-split",)) == 0
    assert set(await texts(stack)) == {"r0", "r1"}
    assert await imported(600, 300) == 2, "both rows are passages now"
    assert set(await texts(stack)) == {*(f"r0#{number}" for number in range(1, 6)), *(f"r1#{n}" for n in (1, 2, 3))}
    assert await imported(200, 1) == 3 + 3
    assert set(await texts(stack)) == {"r0#1", "r0#2", "r1"}


async def test_a_row_whose_passages_may_not_be_deleted_is_named(stack: Stack, tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps({"id": "r", "text": "A word here. " * 600}) + "\n")
    await import_folder(stack, str(source), *PUBLIC, role="superuser")
    before = await texts(stack)
    source.write_text(json.dumps({"id": "r", "text": "word"}) + "\n")
    told = await run(stack, "import", str(source), *PUBLIC, role="superuser", exit_code=1)
    assert "left as it was: 5 passages of an earlier import" in told.stderr
    assert await texts(stack) == before
