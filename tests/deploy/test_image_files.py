"""What the images are made of, as far as files tell it; their locks are tested with all others, in `test_locks.py`."""

import re

from support.manifests import KUBERNETES

IMAGES = KUBERNETES.parent / "images"
SERVICES = ("gateway", "policy", "retrieval")
FOR_RETRIEVAL_ALONE = {"chromadb", "onnxruntime", "wordllama", "numpy"}


def pins(service: str) -> dict[str, str]:
    text = (IMAGES / f"requirements-{service}.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", text, flags=re.MULTILINE))


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
