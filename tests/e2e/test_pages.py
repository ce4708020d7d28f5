"""The pages are true: what README and docs say to type is typed, in the order of the page, against a live stack.

Each page has a `vecsec up` of its own, with the demonstration's hand-written documents, and one shell: what a block
exports, and the folder into which it goes, count for the next.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from support.installation import Installation, running_installation
from support.page_shell import PageShell
from support.pages import READ, ROOT, CodeBlock, Page, all_pages

from vecsec_chassis.auth.issuers_file import load_trusted_issuers
from vecsec_chassis.placement.placement_file import load_placement
from vecsec_cli import demo
from vecsec_policy.in_force.rollout import read_rollout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

READ_BLOCKS = [block for page in all_pages() for block in page.blocks if block.marker == "read by"]
PROGRAMS = ("grpcurl", "jq")
"""What pages use and a machine may lack: markers, too."""
TENANTS = ("tenant_a", "tenant_b")


@contextmanager
def shell_with_a_stack(folder: Path) -> Iterator[PageShell]:
    """The shell of somebody who has a checkout, and `make run` up with documents."""
    with running_installation(folder) as installation:
        (folder / ".vecsec").symlink_to(installation.state_dir)
        (folder / ".venv").symlink_to(Path(sys.prefix))
        shutil.copytree(ROOT / "deploy", folder / "deploy")  # a copy: what a page says to change is not the checkout
        for tenant_id in TENANTS:
            source = Path(demo.__file__).with_name(f"{tenant_id}.jsonl")
            token = installation.token(tenant_id, "admin", "SECRET", "loader")
            installation.run("import", str(source), "--tenant", tenant_id, token=token)
        yield PageShell(folder, _environment(installation), _addresses(installation))


def _environment(installation: Installation) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = {"PATH": path, "VECSEC_GATEWAY": installation.address, "EDITOR": "true", "COLUMNS": "200"}
    return dict(installation.environment) | ours


def _addresses(installation: Installation) -> dict[str, str]:
    here = {50051: installation.gateway_port, 50052: installation.retrieval_port, 50053: installation.policy_port}
    return {f"localhost:{usual}": f"localhost:{port}" for usual, port in here.items()}


def _page_with_marks(page: Page) -> ParameterSet:
    typed = " ".join(block.text for block in page.typed)
    return pytest.param(page, marks=[getattr(pytest.mark, name) for name in PROGRAMS if f"{name} " in typed])


@pytest.mark.parametrize("page", [_page_with_marks(page) for page in all_pages() if page.typed], ids=str)
def test_what_the_page_says_to_type_works(page: Page, tmp_path: Path) -> None:
    with shell_with_a_stack(tmp_path) as shell:
        for block in page.typed:
            shell.types(block)


def _read_cases(text: str, folder: Path) -> None:
    (folder / "cases").mkdir()
    (folder / "cases" / "page.yaml").write_text(text)
    _vecsec("policy", "test", str(folder / "cases"))


def _read_rules(text: str, folder: Path) -> None:
    """As a rule beside the example's others, whose schema has what it asks for."""
    example = ROOT / "deploy" / "examples" / "policies" / "attributes"
    for file in example.iterdir():
        if file.is_file() and file.name != "attributes.cedar":
            (folder / file.name).write_text(file.read_text())
    (folder / "page.cedar").write_text(text)
    _vecsec("policy", "check", str(folder))


def _read_rollout(text: str, folder: Path) -> None:
    (folder / "rollout.yaml").write_text(text)
    assert read_rollout(folder / "rollout.yaml") is not None


def _read_issuers(text: str, folder: Path) -> None:
    (folder / "issuers.yaml").write_text(text)
    assert load_trusted_issuers(folder / "issuers.yaml")


def _read_memberships(text: str, folder: Path) -> None:
    shutil.copytree(ROOT / "services" / "vecsec_policy" / "default_policy", folder / "policy")
    (folder / "policy" / "memberships.yaml").write_text(text)
    _vecsec("policy", "check", str(folder / "policy"))


def _read_placement(text: str, folder: Path) -> None:
    file = folder / "placement.yaml"
    file.write_text(text)
    assert load_placement(file).owner("tenant_a").name == "shard-1"


READERS: dict[str, Callable[[str, Path], None]] = {
    "vecsec policy test": _read_cases,
    "vecsec policy check": _read_rules,
    "the policy service": _read_rollout,
    "gateway and policy": _read_issuers,
    "the policy's memberships": _read_memberships,
    "gateway and shards": _read_placement,
}


def _vecsec(*arguments: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("vecsec"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", READ_BLOCKS, ids=str)
def test_what_the_page_shows_is_read_by_what_it_is_for(block: CodeBlock, tmp_path: Path) -> None:
    assert block.language in READ
    READERS[block.word](block.text, tmp_path)
