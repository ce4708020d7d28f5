"""What the images are made of, as far as files tell it: locks are current, tight and name nobody's host."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from support.manifests import KUBERNETES

IMAGES = KUBERNETES.parent / "images"
SERVICES = ("gateway", "policy", "retrieval")
FOR_RETRIEVAL_ALONE = {"chromadb", "onnxruntime", "wordllama", "numpy"}


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    specification = importlib.util.spec_from_file_location("lock", IMAGES / "lock.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def pins(service: str) -> dict[str, str]:
    text = (IMAGES / f"requirements-{service}.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", text, flags=re.MULTILINE))


@pytest.mark.parametrize("service", SERVICES)
def test_the_lock_is_current(lock: ModuleType, service: str) -> None:
    path: Path = lock.lock_file(service)
    assert path.read_text().startswith(lock.fingerprint(service)), "run: python deploy/images/lock.py"
    for requirement in lock.wanted(service):
        name = re.match(r"[\w.-]+", requirement)
        assert name is not None
        assert name[0].lower().replace("_", "-") in pins(service)


@pytest.mark.parametrize("service", SERVICES)
def test_every_pin_has_hashes_and_no_place_is_named(service: str) -> None:
    lines = (IMAGES / f"requirements-{service}.txt").read_text().splitlines()[1:]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        assert re.fullmatch(r"(\S+==\S+( ; [^/]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?)", line), line
        assert line.startswith("    ") or following.startswith("    --hash=")


def test_chromadb_is_in_retrievals_image_alone() -> None:
    assert set(pins("retrieval")) >= FOR_RETRIEVAL_ALONE
    for service in ("gateway", "policy"):
        assert not set(pins(service)) & FOR_RETRIEVAL_ALONE


def test_shared_packages_have_one_version() -> None:
    versions: dict[str, set[str]] = {}
    for service in SERVICES:
        for name, version in pins(service).items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_every_service_has_a_target_that_its_manifests_name() -> None:
    text = (IMAGES / "Dockerfile").read_text()
    for service in SERVICES:
        (target,) = re.findall(rf"^FROM runtime AS {service}\n((?:.+\n)+)", text, flags=re.MULTILINE)
        assert f"COPY --from=build-{service} " in target
        assert f'"vecsec_{service}"' in target
        assert f"VECSEC_{service.upper()}_HEALTH_PORT=50050" in target
    assert set(re.findall(r"^\s+image: (\S+)$", _manifests(), flags=re.MULTILINE)) == {
        f"vecsec-{service}" for service in SERVICES
    }


def _manifests() -> str:
    return "\n".join(path.read_text() for path in KUBERNETES.rglob("*.yaml"))
