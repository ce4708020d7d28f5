"""The locks are current, tight and name nobody's host; what builds and fetches is locked, too."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
DEVELOPMENT = DEPLOY / "development"


def module(name: str) -> ModuleType:
    """One of the maintainers' scripts."""
    specification = importlib.util.spec_from_file_location(name, DEVELOPMENT / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    sys.modules[name] = loaded  # dataclasses look their module up
    specification.loader.exec_module(loaded)
    return loaded


lock = module("lock")
newest = module("newest")


def entries(path: Path) -> set[str]:
    """Name, version and marker of each entry of a lock."""
    return {line.removesuffix(" \\") for line in path.read_text().splitlines() if line[0] not in "# "}


def names(path: Path) -> set[str]:
    return {entry.partition("==")[0] for entry in entries(path)}


def test_every_lock_in_the_repository_is_made_by_the_one_lock_maker() -> None:
    assert set(DEPLOY.rglob("requirements*.txt")) == {each.path for each in lock.LOCKS}


@pytest.mark.parametrize("each", lock.LOCKS, ids=lambda each: each.name)
def test_a_lock_is_current(each: lock.Lock) -> None:
    assert each.path.read_text().startswith(each.fingerprint), "run: make lock"
    for requirement in each.wanted:
        name = re.match(r"[\w.-]+", requirement)
        assert name is not None
        assert name[0].lower().replace("_", "-") in names(each.path)


@pytest.mark.parametrize("each", lock.LOCKS, ids=lambda each: each.name)
def test_every_pin_has_hashes_and_no_place_is_named(each: lock.Lock) -> None:
    lines = each.path.read_text().splitlines()[1:]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        assert re.fullmatch(r"(\S+==\S+( ; [^/]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?)", line), line
        assert line.startswith("    ") or following.startswith("    --hash=")


def test_what_is_part_of_the_development_lock_has_its_versions() -> None:
    versions: dict[str, set[str]] = {}
    for entry in entries(lock.DEVELOPMENT.path):
        name, _, rest = entry.partition("==")
        versions.setdefault(name, set()).add(rest.split(" ")[0])
    for part in lock.PARTS:
        for entry in entries(part.path):
            name, _, rest = entry.partition("==")
            assert rest.split(" ")[0] in versions[name], f"{part.path.name}: {entry}"


def test_the_build_backend_is_locked() -> None:
    assert {"hatchling", "setuptools", "wheel"} <= names(DEVELOPMENT / "requirements-build.txt")


@pytest.mark.parametrize("script", [DEVELOPMENT / "environment", DEVELOPMENT / "checkov", DEVELOPMENT / "kubectl"])
def test_nothing_is_fetched_without_a_hash(script: Path) -> None:
    text = script.read_text().replace("\\\n", " ")
    fetches = re.findall(r"^.*(?:\bpip (?:install|download)\b|\binstall --).*$", text, flags=re.MULTILINE)
    assert fetches
    for line in fetches:
        installs_the_project = "--editable ." in line
        passes_on = line.rstrip().endswith('"$@"')
        assert installs_the_project or passes_on or "--require-hashes" in line, line
        assert "--no-deps" in line or not passes_on, line


def test_a_package_that_a_lock_has_for_another_python_is_not_compared() -> None:
    text = (
        "# first line\none==1.0 \\\n    --hash=sha256:00\ntwo==2 ; python_full_version < '3' \\\n    --hash=sha256:00\n"
    )
    assert newest.locked(text) == {"one": "1.0"}
    assert newest.differences({"a": "1", "b": "1", "gone": "1"}, {"a": "2", "b": "1", "new": "3"}) == [
        ("a", "1", "2"),
        ("gone", "1", "-"),
        ("new", "-", "3"),
    ]
