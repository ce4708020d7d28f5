"""What `python -m build` makes: complete, installed without the checkout, and on good terms with other packages."""

import os
import signal
import subprocess
import tarfile
import zipfile
from collections.abc import Collection
from email.parser import Parser
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pytest
from support.distributions import ROOT, SDK, Distributions, NewEnvironment, build, build_wheel
from support.installation import free_ports
from support.parts import CERBOS
from support.waiting import COMMAND_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

START_SECONDS, STOP_SECONDS = 300, 60
PACKAGES = {
    *("vecsec_chassis", "vecsec_gateway", "vecsec_policy", "vecsec_retrieval"),
    *("vecsec_cli", "vecsec_workbench"),
}
"""Of `vecsec`. The SDK and the stubs have a distribution of their own, which test_sdk_alone.py is about."""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(SDK, tmp_path_factory.mktemp("sdk"))


@pytest.fixture
def environment(distributions: Distributions, sdk: Path, tmp_path: Path) -> NewEnvironment:
    made = NewEnvironment.made_in(tmp_path / "environment")
    made.install(str(sdk), str(distributions.wheel))
    return made


def in_wheel(distributions: Distributions) -> dict[str, zipfile.Path]:
    archive = zipfile.ZipFile(distributions.wheel)
    return {name: zipfile.Path(archive, name) for name in archive.namelist()}


def test_the_wheel_owns_our_own_packages_all_typed_and_nothing_else(distributions: Distributions) -> None:
    files = in_wheel(distributions)
    (information,) = {name.split("/")[0] for name in files if ".dist-info/" in name}
    assert {name.split("/")[0] for name in files} == PACKAGES | {information}
    assert {f"{package}/py.typed" for package in PACKAGES} <= files.keys()
    expected = {
        str(path.relative_to(folder))
        for folder in (ROOT / "services", ROOT / "clients")
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.relative_to(folder).parts[0] in PACKAGES
    }
    assert {name for name in files if not name.startswith(information)} == expected
    license_text = files[f"{information}/licenses/LICENSE"].read_text()
    assert license_text == (ROOT / "LICENSE").read_text()
    metadata = Parser().parsestr(files[f"{information}/METADATA"].read_text())
    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    assert metadata["Version"] == version("vecsec")
    assert f"vecsec-client=={version('vecsec-client')}" in metadata.get_all("Requires-Dist", [])


def test_the_sdist_has_sources_tests_and_papers_and_never_what_else_lies_about(distributions: Distributions) -> None:
    """Keys, tokens, imported files and policies being tried lie in checkouts."""
    with tarfile.open(distributions.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"protos/generate.py", "protos/vecsec/type/v1/label.proto", "tests/conftest.py"} <= names
    assert {"deploy/images/Dockerfile", "deploy/development/environment"} <= names
    folders = {"clients", "deploy", "docs", "protos", "services", "tests"}
    papers = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"}
    others = {".gitignore", "Makefile", "PKG-INFO", "pyproject.toml"}
    top = {name.split("/")[0] for name in names}
    assert papers <= top
    assert top <= folders | papers | others


@pytest.mark.index
def test_cerbos_and_protovalidate_come_and_go_beside_it(environment: NewEnvironment, tmp_path: Path) -> None:
    """cerbos owns `buf/validate`, as our wheel once did: with it went our import."""
    others = {"cerbos": CERBOS, "protovalidate": f"protovalidate=={version('protovalidate')}"}
    present: set[str] = set()
    validates(environment, tmp_path, present)
    for names in (("cerbos", "protovalidate"), ("protovalidate", "cerbos")):
        for name in names:
            environment.install(others[name])
            present.add(name)
            validates(environment, tmp_path, present)
        for name in names:
            environment.uninstall(name)
            present.remove(name)
            validates(environment, tmp_path, present)
    environment.install(CERBOS)
    environment.uninstall("vecsec")
    environment.uninstall("vecsec-client")
    environment.add_what_vecsec_needs()
    environment.run(THEIRS, cwd=tmp_path)


def validates(environment: NewEnvironment, cwd: Path, present: Collection[str]) -> None:
    """VecSec imports and holds a request to its contract, in one process with cerbos's validate.proto or without it."""
    environment.add_what_vecsec_needs()
    orders = ((THEIRS, OURS), (OURS, THEIRS)) if "cerbos" in present else ((OURS,),)
    for imports in orders:
        printed = environment.run("\n".join((*imports, VALIDATION)), cwd=cwd)
        assert printed.split() == ["tenant_id", str(environment.site_packages / "vecsec_client" / "__init__.py")]
    environment.remove_what_vecsec_needs()


THEIRS = "import buf.validate.validate_pb2"
OURS = "import vecsec.gateway.v1.gateway_service_pb2"
VALIDATION = """
import vecsec_client
from vecsec.gateway.v1.gateway_service_pb2 import ListCollectionsRequest
from vecsec_chassis.domain.errors import InvalidRequest
from vecsec_chassis.rpc.request_rules import decode

try:
    decode(ListCollectionsRequest, ListCollectionsRequest(tenant_id="Not A Tenant").SerializeToString(), max_bytes=1000)
except InvalidRequest as refusal:
    print(*(violation.field for violation in refusal.violations), vecsec_client.__file__)
"""


def test_up_and_its_demonstration_work_from_the_wheel_outside_of_the_checkout(
    environment: NewEnvironment, tmp_path: Path
) -> None:
    environment.add_what_vecsec_needs()
    vecsec = str(environment.folder / "bin" / "vecsec")
    ports = zip(("--gateway-port", "--retrieval-port", "--policy-port", "--metrics-port"), free_ports(6), strict=False)
    options = chain.from_iterable((option, str(port)) for option, port in ports)
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [vecsec, "up", *options], stdout=output, stderr=output, cwd=tmp_path, env=os.environ | {"COLUMNS": "160"}
        )
    try:
        wait_until(
            lambda: "\nready: gateway " in log.read_text() or up.poll() is not None, log.read_text, START_SECONDS
        )
        assert up.poll() is None, log.read_text()
        printed = subprocess.run(
            [vecsec, "doctor"], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=COMMAND_SECONDS
        )
        up.send_signal(signal.SIGINT)
        assert up.wait(STOP_SECONDS) == 0
    finally:
        up.kill()
        up.wait(STOP_SECONDS)
    assert "client and services are installed" in " ".join(printed.stdout.split())
    said = log.read_text()
    assert "imported " in said
    assert "above the clearance PUBLIC" in said
    assert "the demonstration stopped" not in said
    assert str(ROOT) not in said
