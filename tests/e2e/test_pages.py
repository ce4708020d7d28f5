"""The pages are true: what README and docs say to type is typed, in the order of the page, against a live stack.

Each page has a `vecsec up` of its own, with the demonstration's hand-written documents, and one shell: what a block
exports, and the folder into which it goes, count for the next.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from support.installation import Installation, running_installation
from support.pages import READ, ROOT, CodeBlock, Page, all_pages

from vecsec_cli import demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGES = [page for page in all_pages() if page.typed]
NEED_GRPCURL = [page for page in PAGES if any("grpcurl " in block.text for block in page.typed)]
READ_BLOCKS = [block for page in all_pages() for block in page.blocks if block.marker == "read by"]
BLOCK_SECONDS = 180
TENANTS = ("tenant_a", "tenant_b")


@dataclass(frozen=True)
class Reader:
    """Somebody at a shell, who has a checkout and a running installation."""

    installation: Installation

    @property
    def folder(self) -> Path:
        return self.installation.folder

    def types(self, block: CodeBlock) -> None:
        """Type the block; it must end as the page says."""
        wanted = int(block.word) if block.marker == "exit status" else 0
        command = block.text if block.language == "bash" else _python(block.text)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", _in_the_same_shell(self._here(command))],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=BLOCK_SECONDS,
        )
        assert done.returncode == wanted, f"{block}\n{block.text}\n{done.stdout}\n{done.stderr}"
        if block.language == "python":
            assert done.stdout, f"{block} printed nothing"

    def _here(self, text: str) -> str:
        """The text with this installation's addresses instead of the usual ones."""
        installation = self.installation
        ports = {50051: installation.gateway_port, 50052: installation.retrieval_port, 50053: installation.policy_port}
        for usual, here in ports.items():
            text = text.replace(f"localhost:{usual}", f"localhost:{here}")
        return text

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return dict(self.installation.environment) | {
            "PATH": path,
            "VECSEC_GATEWAY": self.installation.address,
            "EDITOR": "true",
            "COLUMNS": "200",
        }


def _python(text: str) -> str:
    return f"python <<'END OF THE BLOCK'\n{text}\nEND OF THE BLOCK\n"


def _in_the_same_shell(command: str) -> str:
    shell = "shell-of-the-page"
    return (
        f'[ ! -e "$PWD/{shell}" ] || source "$PWD/{shell}"\nkept="$PWD/{shell}"\n{command}\n'
        'printf "%s\\n" "$(declare -px | grep -v -w -e PWD -e OLDPWD -e SHLVL)" "cd $(printf %q "$PWD")" > "$kept"\n'
    )


@contextmanager
def reader(folder: Path) -> Iterator[Reader]:
    """A checkout, and a stack with documents."""
    with running_installation(folder) as installation:
        (folder / ".vecsec").symlink_to(installation.state_dir)
        (folder / ".venv").symlink_to(Path(sys.prefix))
        shutil.copytree(ROOT / "deploy", folder / "deploy")  # a copy: what a page says to change is not the checkout
        for tenant_id in TENANTS:
            source = Path(demo.__file__).with_name(f"{tenant_id}.jsonl")
            token = installation.token(tenant_id, "admin", "SECRET", "loader")
            installation.run("import", str(source), "--tenant", tenant_id, token=token)
        yield Reader(installation)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.grpcurl) if page in NEED_GRPCURL else page for page in PAGES],
    ids=str,
)
def test_what_the_page_says_to_type_works(page: Page, tmp_path: Path) -> None:
    with reader(tmp_path) as somebody:
        for block in page.typed:
            somebody.types(block)


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
    from vecsec_policy.rollout_file import read_rollout

    (folder / "rollout.json").write_text(json.dumps(yaml.safe_load(text)))
    assert read_rollout(folder / "rollout.json") is not None


READERS: dict[str, Callable[[str, Path], None]] = {
    "vecsec policy test": _read_cases,
    "vecsec policy check": _read_rules,
    "the policy service": _read_rollout,
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
