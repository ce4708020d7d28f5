"""A figure says which code it was measured with; what other sections wrote before it is no change of the code."""

import subprocess
from pathlib import Path

import pytest
from bench.circumstances import commit_of
from bench.report import PAGE


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / PAGE).parent.mkdir(parents=True)
    for name in (PAGE, "code.py"):
        (tmp_path / name).write_text("old")
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.com"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "first"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    return tmp_path


def test_results_make_no_commit_dirty(repository: Path) -> None:
    clean = commit_of(repository)
    (repository / PAGE).write_text("new")
    (repository / "tests" / "bench" / "results").mkdir(parents=True)
    (repository / "tests" / "bench" / "results" / "load.json").write_text("{}")
    assert commit_of(repository) == clean != "unknown"
    (repository / "code.py").write_text("new")
    assert commit_of(repository) == f"{clean}-dirty"


def test_without_a_repository_the_commit_is_unknown(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == "unknown"
