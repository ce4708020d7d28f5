"""What the images are made of, as far as files tell it; their locks are tested with all others, in `test_locks.py`."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import distribution, distributions
from pathlib import Path

from support.manifests import KUBERNETES

ROOT = KUBERNETES.parents[1]
IMAGES = ROOT / "deploy" / "images"
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
    named = set(re.findall(r"^\s+image: (vecsec\S*)$", _manifests(), flags=re.MULTILINE))
    assert named == {f"vecsec-{image}" for image in (*SERVICES, "tools")}


def test_the_tools_are_a_target_with_all_that_they_need() -> None:
    """Their lock is that of all services and the workbench; what is copied is what the wheel holds."""
    text = (IMAGES / "Dockerfile").read_text()
    (target,) = re.findall(r"^FROM build AS build-tools\n((?:.+\n)+)", text, flags=re.MULTILINE)
    assert "deploy/development/requirements-services.txt" in target
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = re.findall(r"[\w/]+", " ".join(re.findall(r"^COPY (.+) \S+$", target, flags=re.MULTILINE)))
    assert all(any(f"{package}/".startswith(f"{each}/") for each in copied) for package in packages)
    for ignored in ("clients/vecsec_*", "deploy/development/requirements-services.txt", "pyproject.toml"):
        assert f"!{ignored}\n" in (IMAGES / "Dockerfile.dockerignore").read_text()


def test_the_commands_are_those_of_an_installation(tmp_path: Path) -> None:
    """What others add to `vecsec` is found by the metadata that the image makes, as it is by an installed one's."""
    script = IMAGES / "commands.py"
    program = tmp_path / "vecsec"
    subprocess.run([sys.executable, script, ROOT / "pyproject.toml", tmp_path, program], check=True)
    (made,) = distributions(name="vecsec", path=[str(tmp_path)])
    installed = distribution("vecsec")
    assert made.version == installed.version
    group = "vecsec.commands"
    assert {(each.name, each.value) for each in made.entry_points.select(group=group)} == {
        (each.name, each.value) for each in installed.entry_points.select(group=group)
    }
    assert program.read_text().startswith(f"#!{tmp_path}/python -P\n")


def _manifests() -> str:
    return "\n".join(path.read_text() for path in KUBERNETES.rglob("*.yaml"))


def test_the_tools_run_from_what_the_image_copies(tmp_path: Path) -> None:
    """As in the image: packages side by side, none of ours installed, the commands found by what is written."""
    source, libraries = tmp_path / "source", tmp_path / "libraries"
    ours = [*(ROOT / "protos/gen").iterdir(), *(ROOT / "services").iterdir(), *(ROOT / "clients").glob("vecsec_*")]
    theirs = [
        each
        for each in Path(sysconfig.get_path("purelib")).iterdir()
        if not each.name.startswith(("vecsec", "__editable__")) and each.suffix != ".pth"
    ]
    for folder, entries in ((source, ours), (libraries, theirs)):
        folder.mkdir()
        for each in entries:
            (folder / each.name).symlink_to(each)
    program = tmp_path / "vecsec"
    subprocess.run([sys.executable, IMAGES / "commands.py", ROOT / "pyproject.toml", source, program], check=True)

    def vecsec(*arguments: str) -> str:
        command = [sys.executable, "-S", "-P", str(program), *arguments]
        environment = {"PYTHONPATH": f"{source}:{libraries}", "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True, text=True)
        return done.stdout

    assert vecsec("--version").split() == ["vecsec", distribution("vecsec").version]
    listed = vecsec("--help")
    assert all(f" {each} " in listed for each in ("tenant", "doctor", "audit", "policy", "panic", "shards", "issuers"))
    assert "--expect-head" in vecsec("audit", "verify", "--help")
