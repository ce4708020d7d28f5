"""The SDK's own distribution: what is in it, what it needs, and that it searches with that alone."""

import json
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from support.background_loop import BackgroundLoop
from support.distributions import ROOT, SDK, NewEnvironment, build, build_wheel, needed_by
from support.stack import Stack, document, running_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NEEDED = {
    "googleapis-common-protos",
    "grpcio",
    "markdown-it-py",
    "mdurl",
    "protobuf",
    "tenacity",
    "typing-extensions",
}
"""With what these need themselves."""
OTHERS = {
    *("cedarpy", "chromadb", "cryptography", "joserfc", "numpy", "opentelemetry", "pandas"),
    *("pydantic", "rich", "structlog", "typer", "uvloop", "yaml"),
    *("vecsec_chassis", "vecsec_cli", "vecsec_gateway", "vecsec_policy", "vecsec_retrieval", "vecsec_workbench"),
}
"""What a search has no use for: the services and the command line."""
SEARCH = """
import json, os, sys
from vecsec_client import VecSecClient, __version__

with VecSecClient(os.environ["VECSEC_GATEWAY"], token=os.environ["VECSEC_TOKEN"], default_tenant="tenant_a") as client:
    found = [hit.document_id for hit in client.search("ranking", k=5)]
modules = sorted({name.split(".")[0] for name in sys.modules})
print(json.dumps({"found": found, "version": __version__, "modules": modules}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(SDK, tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    loop = BackgroundLoop()
    running, leave = loop.enter(running_stack(tmp_path / "stack"))
    try:
        loop.run(running.load("tenant_a", document("open", "rag"), document("closed", "rag", sensitivity="SECRET")))
        yield running
    finally:
        leave()
        loop.close()


def sources() -> set[str]:
    return {
        str(path.relative_to(folder))
        for folder, package in ((ROOT / "protos" / "gen", "vecsec"), (ROOT / "clients", "vecsec_client"))
        for path in (folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_client_and_the_stubs_and_its_sdist_gives_the_same(wheel: Path, tmp_path: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == sources()
    made = build(tmp_path, SDK)
    assert set(zipfile.ZipFile(made.wheel).namelist()) == names
    with tarfile.open(made.sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    papers = {".gitignore", "LICENSE", "PKG-INFO", "README.md", "hatch_build.py", "pyproject.toml"}
    assert inside == sources() | papers


def test_it_needs_these_and_no_more() -> None:
    assert {each.name.lower().replace("_", "-") for each in needed_by("vecsec-client")} == NEEDED | {"vecsec-client"}
    assert version("vecsec-client") == version("vecsec")


def test_with_these_alone_it_searches(wheel: Path, stack: Stack, tmp_path: Path) -> None:
    environment = NewEnvironment.made_in(tmp_path / "environment")
    environment.install(str(wheel))
    environment.link(*sorted(NEEDED))
    token = stack.issuer.token("tenant_a", "analyst", "INTERNAL", "alice")
    given = {"VECSEC_GATEWAY": f"localhost:{stack.gateway_service.port}", "VECSEC_TOKEN": token}
    printed = json.loads(environment.run(SEARCH, cwd=tmp_path, **given))
    assert printed["found"] == ["open"]
    assert printed["version"] == version("vecsec-client")
    assert not OTHERS & set(printed["modules"])
    assert str(ROOT) not in environment.run("import vecsec_client; print(vecsec_client.__file__)", cwd=tmp_path)
