"""Alerts link to where the runbook is read: the script that writes its address into the rules."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.monitoring import MONITORING

WRONG = {
    "wiki.example/RUNBOOK": "starts with https://",
    "ftp://wiki.example/RUNBOOK": "starts with https://",
    "https:///RUNBOOK": "starts with https://",
    "https://wiki.example/RUNBOOK#top": "fragment",
    "https://wiki.example/RUN BOOK": "blanks",
    'https://wiki.example/"RUNBOOK': "blanks",
}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "monitoring" / "runbook_links.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of what it writes to."""
    copied = Path("kubernetes", "components", "monitoring", "generated")
    shutil.copytree(MONITORING, tmp_path / "monitoring", ignore=shutil.ignore_patterns("dashboards"))
    shutil.copytree(MONITORING.parent / copied, tmp_path / copied)
    return tmp_path


def links(folder: Path) -> set[str]:
    files = [*folder.glob("monitoring/rules/*.yaml"), *folder.glob("kubernetes/**/prometheus-rules.yaml")]
    found = set()
    for file in files:
        content = yaml.safe_load(file.read_text())
        groups = content.get("groups") or content["spec"]["groups"]
        found |= {rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule}
    return found


def test_links_lead_to_the_given_runbook_and_to_the_next_one(folder: Path) -> None:
    sections = {each.partition("#")[2] for each in links(folder)}
    for base in ("https://wiki.example/vecsec/RUNBOOK", "https://git.example/vecsec/-/blob/main/deploy/RUNBOOK.md?x=1"):
        assert run(folder, base).returncode == 0
        assert links(folder) == {f"{base}#{section}" for section in sections}


@pytest.mark.parametrize("base", WRONG)
def test_a_wrong_base_is_refused_in_one_line_and_changes_nothing(folder: Path, base: str) -> None:
    before = links(folder)
    done = run(folder, base)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert WRONG[base] in done.stderr
    assert links(folder) == before
