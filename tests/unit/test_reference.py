"""docs/reference says what the code says: settings, commands, metrics, exit codes, errors."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from vecsec.type.v1 import error_reason_pb2
from vecsec_chassis.settings import ServiceSettings
from vecsec_gateway.settings import GatewaySettings
from vecsec_policy.settings import PolicySettings
from vecsec_retrieval.settings import RetrievalSettings

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def _generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


GENERATOR = _generator()


@pytest.mark.parametrize("page", GENERATOR.PAGES)
def test_the_page_is_what_the_code_says(page: str) -> None:
    assert (REFERENCE / page).read_text() == GENERATOR.NOTE + GENERATOR.PAGES[page](), "run `make docs`"


@pytest.mark.parametrize("page", GENERATOR.PAGES)
def test_it_does_not_name_the_place_of_this_checkout(page: str) -> None:
    assert str(ROOT) not in (REFERENCE / page).read_text()


def test_it_depends_on_no_terminal_and_no_setting() -> None:
    code = f"import runpy; made = runpy.run_path({str(ROOT / 'docs' / 'generate.py')!r}); print(made['command_line']())"
    surroundings = {"COLUMNS": "30", "TERM": "dumb", "VECSEC_POLICY_PORT": "1", "VECSEC_TENANT": "other"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | surroundings, capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip("\n") == GENERATOR.command_line().rstrip("\n")


@pytest.mark.parametrize("settings", [GatewaySettings, PolicySettings, RetrievalSettings])
def test_every_setting_stands_there_with_a_sentence(settings: type[ServiceSettings]) -> None:
    rows = {line.split("|")[1].strip(" `"): line for line in _rows("configuration.md")}
    names = {field.alias for field in settings.model_fields.values()}
    assert None not in names
    assert names <= set(rows)
    assert [name for name in names if not rows[str(name)].split("|")[-2].strip().endswith(".")] == []


def test_every_metric_has_a_meaning() -> None:
    assert [line for line in _rows("metrics.md") if not line.split("|")[-2].strip()] == []


def test_every_reason_of_an_error_stands_there() -> None:
    reasons = {
        name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    } - {"UNSPECIFIED"}
    assert {line.split("|")[1].strip() for line in _rows("errors.md")} == reasons


def _rows(page: str) -> Iterator[str]:
    """The rows of all tables but for their heads."""
    lines = (REFERENCE / page).read_text().splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("|") and not line.startswith("| ---") and not after.startswith("| ---"):
            yield line
