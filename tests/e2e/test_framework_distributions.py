"""The distributions of frameworks: what each is made of and needs, and that nothing which runs needs any of them."""

import re
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import pytest
from support.distributions import ROOT, SDK, NewEnvironment, build_wheel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Expected:
    """What docs/guides/frameworks.md says to install, and what is in it."""

    name: str
    needs: str
    packages: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return ROOT / "clients" / self.name


DISTRIBUTIONS = [
    Expected("langchain-vecsec", "langchain-core", ("langchain_vecsec",)),
    Expected("llama-index-vector-stores-vecsec", "llama-index-core", ("llama_index/vector_stores/vecsec",)),
    Expected("mcp-server-vecsec", "mcp", ("mcp_server_vecsec",)),
    Expected(
        "vecsec-haystack",
        "haystack-ai",
        ("haystack_integrations/components/retrievers/vecsec", "haystack_integrations/document_stores/vecsec"),
    ),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> NewEnvironment:
    """With the SDK and what all need."""
    made = NewEnvironment.made_in(tmp_path_factory.mktemp("environment"))
    made.install(str(build_wheel(SDK, tmp_path_factory.mktemp("sdk"))))
    made.add_what_vecsec_needs()
    return made


@pytest.mark.parametrize("expected", DISTRIBUTIONS, ids=lambda expected: expected.name)
def test_the_wheel_holds_its_packages_and_needs_the_sdk(
    expected: Expected, environment: NewEnvironment, tmp_path: Path
) -> None:
    wheel = build_wheel(expected.folder, tmp_path)
    archive = zipfile.ZipFile(wheel)
    files = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert files == {
        str(path.relative_to(expected.folder))
        for package in expected.packages
        for path in (expected.folder / package).glob("*")
        if path.is_file()
    }
    assert {f"{package}/py.typed" for package in expected.packages} <= files
    (information,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    metadata = Parser().parsestr(archive.read(f"{information}/METADATA").decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert archive.read(f"{information}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    needed = {found[0] for each in metadata.get_all("Requires-Dist", []) if (found := re.match(r"[\w-]+", each))}
    assert needed == {expected.needs, "vecsec-client"}

    environment.install(str(wheel))
    for package in expected.packages:
        program = f"import {package.replace('/', '.')} as package; print(package.__file__)"
        printed = environment.run(program, cwd=tmp_path)
        assert printed.strip() == str(environment.site_packages / package / "__init__.py")


@pytest.mark.parametrize("lock", ["development/requirements-services.txt", "images/requirements-retrieval.txt"])
def test_what_runs_installs_no_framework(lock: str) -> None:
    text = (ROOT / "deploy" / lock).read_text()
    assert not [each.needs for each in DISTRIBUTIONS if each.needs in text]
    assert "langchain" not in text
    assert "\nmcp==" not in text
    assert "grpcio==" in text
