"""Attributes of one's own: the guide's example, typed as it stands there, against a running installation."""

import os
import subprocess
from pathlib import Path

import pytest
from support.installation import Installation, running_installation, vecsec_command
from support.pages import ROOT, read_page
from support.waiting import COMMAND_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EXAMPLE = ROOT / "deploy" / "examples" / "policies" / "attributes"
PACKAGED = ROOT / "services" / "vecsec_policy" / "default_policy"
MARK = "@@@ "
DOCUMENTS = {"handbook", "alice-notes", "eu-survey", "results-2020", "results-2998"}


def commands() -> str:
    page = read_page(ROOT / "docs" / "guides" / "attributes.md")
    (block,) = (block for block in page.blocks if block.language == "bash")
    return block.text


def typed(installation: Installation, lines: str) -> dict[str, str]:
    """Type the lines into one shell; what was printed after each comment."""
    announced = [
        f"echo '{MARK}{line[2:].replace(chr(39), '')}'" if line.startswith("# ") else line
        for line in lines.splitlines()
    ]
    path = f"{Path(vecsec_command()).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(announced)],
        cwd=installation.folder,
        env=dict(installation.environment) | {"PATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sections = [section.partition("\n") for section in done.stdout.split(MARK)[1:]]
    return {comment: output for comment, _, output in sections}


def until_in_force(installation: Installation) -> None:
    token = installation.token("tenant_a", "admin", "SECRET", "root")
    question = (
        "--tenant",
        "tenant_a",
        "--sensitivity",
        "INTERNAL",
        "--topics",
        "rag",
        "--attribute",
        "embargo_until=1",
    )
    wait_until(lambda: "label-not-in-schema" not in installation.run("explain", *question, token=token).stdout)


def found_in(output: str) -> set[str]:
    return {name for name in DOCUMENTS if name in output}


def test_the_guide_s_example_works_as_typed(tmp_path: Path) -> None:
    files, wait, searches = commands().partition("sleep 3")
    assert wait
    with running_installation(tmp_path) as installation:
        (tmp_path / ".vecsec").symlink_to(installation.state_dir)
        (tmp_path / "deploy").symlink_to(ROOT / "deploy")
        typed(installation, files)
        until_in_force(installation)  # on a busy machine it takes longer than a reader needs to type on
        outputs = typed(installation, searches.partition("\n")[2])
    alice, bob, why = outputs.values()
    assert found_in(alice) == {"handbook", "alice-notes", "results-2020", "results-2998"}
    assert found_in(bob) == {"handbook", "results-2020", "eu-survey"}
    assert "embargo" in why
    for comment, found in zip(list(outputs)[:2], (alice, bob), strict=True):
        assert {name for name in found_in(found) if name not in comment} <= {"alice-notes"}, "the comment says which"


def test_the_example_is_the_packaged_policy_and_what_it_adds() -> None:
    assert (EXAMPLE / "access.cedar").read_text() == (PACKAGED / "access.cedar").read_text()
    assert (EXAMPLE / "tenants.yaml").read_text() == (PACKAGED / "tenants.yaml").read_text()
    assert (EXAMPLE / "roles.yaml").read_text().startswith((PACKAGED / "roles.yaml").read_text())

    def around_attributes(folder: Path) -> tuple[str, str]:
        schema = (folder / "schema.cedarschema").read_text()
        before, _, rest = schema.partition("  topics?: Set<String>,\n")
        return before, rest.partition("};")[2]

    assert around_attributes(EXAMPLE) == around_attributes(PACKAGED)
