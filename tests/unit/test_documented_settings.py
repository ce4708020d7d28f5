"""The README's table names every setting of the services."""

from pathlib import Path

import pytest

from vecsec_chassis.settings import ServiceSettings
from vecsec_gateway.settings import GatewaySettings
from vecsec_policy.settings import PolicySettings
from vecsec_retrieval.settings import RetrievalSettings

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("settings", [GatewaySettings, PolicySettings, RetrievalSettings])
def test_every_setting_stands_in_the_readme(settings: type[ServiceSettings]) -> None:
    rows = [line.split("|")[1] for line in README.read_text().splitlines() if line.startswith("| `")]
    names = {field.alias for field in settings.model_fields.values()}
    assert None not in names
    assert {name for name in names if not any(f"`{name}`" in row for row in rows)} == set()
