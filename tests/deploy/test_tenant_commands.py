"""A tenant's documents out of a running installation, back into it, and out of a damaged cell."""

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.site import Site, running_site
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROWS: list[dict[str, Any]] = [
    {
        "id": f"d{number:04}",
        "text": f"passage {number} about vector search and ranking",
        "sensitivity": ("PUBLIC", "INTERNAL", "SECRET")[number % 3],
        "topics": ["retrieval"],
        "metadata": {"number": number, "even": number % 2 == 0, "share": number / 3},
    }
    for number in range(1_200)
]
EXTERNAL = [
    {"id": each, "text": each, "sensitivity": "PUBLIC", "topics": ["rag"], "embedding": [1.0, 2.0, index]}
    for index, each in enumerate("ab")
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("tenants")) as running:
        running.import_rows("tenant_a", ROWS)
        running.import_rows("tenant_b", ROWS[:3])
        source = running.folder / "external.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in EXTERNAL))
        administrator(running, "import", str(source), "--tenant", "tenant_a", "--collection", "vectors")
        yield running


def administrator(
    site: Site, *arguments: str, tenant: str = "tenant_a", check: bool = True
) -> subprocess.CompletedProcess[str]:
    done = site.run(*arguments, token=site.token(tenant, "admin", "SECRET", "operator"), check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def counts(site: Site) -> dict[str, int]:
    listed = json.loads(administrator(site, "collections", "--tenant", "tenant_a", "--json").stdout)
    return {each["collection_id"]: each["document_count"] for each in listed["collections"]}


def until_it_ends_with(status: int, site: Site, tenant: str) -> None:
    """Search until retrieval, which was just started, is found again by the gateway."""
    said = ""

    def ends_so() -> bool:
        nonlocal said
        done = administrator(site, "search", "x", "--tenant", tenant, tenant=tenant, check=False)
        said = done.stderr
        return done.returncode == status

    wait_until(ends_so, lambda: said)


def test_an_export_holds_everything_and_is_its_owners_alone(site: Site) -> None:
    folder = site.folder / "whole"
    administrator(site, "tenant", "export", str(folder), "--tenant", "tenant_a")
    exported = lines(folder / "documents.jsonl")
    assert [each["id"] for each in exported] == [row["id"] for row in ROWS]
    for line, row in zip(exported, ROWS, strict=True):
        assert {name: line[name] for name in row} == row
        assert len(line["embedding"]) == 256
    assert [each["embedding"] for each in lines(folder / "vectors.jsonl")] == [each["embedding"] for each in EXTERNAL]
    assert {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())} == {0}
    assert administrator(site, "tenant", "export", str(folder), "--tenant", "tenant_a", check=False).returncode == 2


def test_an_export_holds_what_the_token_may_read(site: Site) -> None:
    folder = site.folder / "some"
    token = site.token("tenant_a", "superuser", "CONFIDENTIAL")
    site.run("tenant", "export", str(folder), "--tenant", "tenant_a", token=token)
    assert {each["sensitivity"] for each in lines(folder / "documents.jsonl")} == {"PUBLIC", "INTERNAL"}
    analyst, foreign = site.token("tenant_a"), site.token("tenant_b", "superuser", "CONFIDENTIAL")
    for number, refused in enumerate((analyst, foreign)):
        done = site.run("tenant", "export", f"refused{number}", "--tenant", "tenant_a", token=refused, check=False)
        assert done.returncode == 4, done.stderr


def test_an_import_brings_back_what_was_lost(site: Site) -> None:
    folder = site.folder / "backup"
    administrator(site, "tenant", "export", str(folder), "--tenant", "tenant_a")
    administrator(site, "delete", *(row["id"] for row in ROWS[:100]), "--tenant", "tenant_a")
    assert counts(site) == {"documents": 1_100, "vectors": 2}
    for _ in range(2):  # again, for a restore must not trust that it was done before
        administrator(site, "tenant", "import", str(folder), "--tenant", "tenant_a")
        assert counts(site) == {"documents": 1_200, "vectors": 2}
    again = site.folder / "again"
    administrator(site, "tenant", "export", str(again), "--tenant", "tenant_a")
    for collection in ("documents", "vectors"):
        assert (again / f"{collection}.jsonl").read_bytes() == (folder / f"{collection}.jsonl").read_bytes()


def test_an_unfinished_export_is_not_imported(site: Site) -> None:
    folder = site.folder / "unfinished"
    folder.mkdir()
    (folder / "documents.jsonl").write_text("")
    done = administrator(site, "tenant", "import", str(folder), "--tenant", "tenant_a", check=False)
    assert done.returncode == 2
    assert "not a finished export" in done.stderr


def test_a_repair_needs_the_store_for_itself(site: Site) -> None:
    done = administrator(site, "tenant", "repair", "--tenant", "tenant_a", check=False)
    assert done.returncode == 2
    assert "in use by the retrieval service" in done.stderr
    assert (site.state.chroma / "tenant_a").is_dir()


def test_a_cell_with_a_torn_row_is_found_and_repaired_with_its_embeddings(site: Site) -> None:
    before = counts(site)
    site.units.stop("vecsec-retrieval")
    with closing(sqlite3.connect(site.state.chroma / "tenant_a" / "chroma.sqlite3", isolation_level=None)) as database:
        newest = "SELECT max(seq_id) FROM embeddings_queue WHERE id = 'd0007'"  # an export keeps older ones for a while
        torn = (
            f"UPDATE embeddings_queue SET metadata = replace(metadata, 'passage', 'message') WHERE seq_id = ({newest})"
        )
        assert database.execute(torn).rowcount == 1
    verified = administrator(site, "tenant", "verify", "--json", check=False)
    assert verified.returncode == 9
    assert "'d0007' does not agree with its checksum" in json.loads(verified.stdout)["problems"]["tenant_a"]
    site.units.start("vecsec-retrieval")
    until_it_ends_with(9, site, "tenant_a")
    until_it_ends_with(0, site, "tenant_b")
    site.units.stop("vecsec-retrieval")
    for no_tenant in ("..", ".", ".aside", "../tenant_a"):
        assert administrator(site, "tenant", "repair", "--tenant", no_tenant, check=False).returncode == 5
    repaired = administrator(site, "tenant", "repair", "--tenant", "tenant_a", "--json")
    archive = json.loads(repaired.stdout)
    assert "1 rows could not be read" in repaired.stderr
    assert archive["documents"] == before | {"documents": len(ROWS) - 1}
    assert (site.state.chroma / ".aside").is_dir()
    [external, _] = lines(Path(archive["folder"]) / "vectors.jsonl")
    assert external["embedding"] == EXTERNAL[0]["embedding"]
    site.units.start("vecsec-retrieval")
    until_it_ends_with(0, site, "tenant_a")
    assert counts(site) == {}
    administrator(site, "tenant", "import", archive["folder"], "--tenant", "tenant_a")
    assert counts(site) == archive["documents"]
    found = json.loads(administrator(site, "search", "passage 8", "--tenant", "tenant_a", "--k", "1", "--json").stdout)
    assert found["provenance"] == "PROVENANCE_REAL"


def test_a_destroyed_database_is_found_put_aside_and_rebuilt_from_an_export(site: Site) -> None:
    folder = site.folder / "before-destruction"
    administrator(site, "tenant", "export", str(folder), "--tenant", "tenant_a")
    assert administrator(site, "tenant", "verify").returncode == 0
    site.units.stop("vecsec-retrieval")
    database = site.state.chroma / "tenant_a" / "chroma.sqlite3"
    database.write_bytes(b"\xff" * database.stat().st_size)
    verified = administrator(site, "tenant", "verify", "--json", check=False)
    assert verified.returncode == 9
    assert list(json.loads(verified.stdout)["problems"]) == ["tenant_a"]
    repaired = administrator(site, "tenant", "repair", "--tenant", "tenant_a", check=False)
    assert repaired.returncode == 9
    assert "nothing can be read" in repaired.stderr
    site.units.start("vecsec-retrieval")
    until_it_ends_with(0, site, "tenant_a")
    administrator(site, "tenant", "import", str(folder), "--tenant", "tenant_a")
    assert counts(site)["documents"] == len(ROWS) - 1
    assert administrator(site, "tenant", "verify").returncode == 0


def test_a_cell_whose_folder_is_gone_is_named_and_may_begin_anew(site: Site) -> None:
    cell, backup = site.state.chroma / "tenant_b", site.folder / "tenant_b"
    site.units.stop("vecsec-retrieval")
    shutil.move(cell, backup)
    verified = administrator(site, "tenant", "verify", check=False)
    assert (verified.returncode, verified.stdout) == (9, f"tenant_b: {cell} is gone\n")
    site.units.start("vecsec-retrieval")
    until_it_ends_with(9, site, "tenant_b")
    until_it_ends_with(0, site, "tenant_a")
    checks = {each["check"]: each for each in json.loads(site.run("doctor", "--json", check=False).stdout)["checks"]}
    assert checks["cell tenant_b"]["detail"] == f"{cell} is gone, but on the store's list of cells"
    assert "1 of 2 cells can be read (store " in checks["store"]["detail"]
    shutil.move(backup, cell)
    until_it_ends_with(0, site, "tenant_b")
    site.units.stop("vecsec-retrieval")
    shutil.rmtree(cell)
    repaired = administrator(site, "tenant", "repair", "--tenant", "tenant_b", check=False)
    assert repaired.returncode == 9
    assert "is gone, and off the list of cells now" in repaired.stderr
    assert administrator(site, "tenant", "repair", "--tenant", "tenant_b", check=False).returncode == 5
    site.units.start("vecsec-retrieval")
    until_it_ends_with(0, site, "tenant_b")
    site.import_rows("tenant_b", ROWS[:3])
    assert administrator(site, "tenant", "verify").returncode == 0
