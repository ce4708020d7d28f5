"""`sbom.py SERVICE FILE`: writes what is installed beside this interpreter as a CycloneDX bill of materials."""

import json
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path


def bill(service: str) -> dict[str, object]:
    """The bill: a component for each installed distribution, by name."""
    installed = sorted(distributions(), key=lambda each: each.name.lower())
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": f"vecsec-{service}"}},
        "components": [_component(each) for each in installed],
    }


def _component(distribution: Distribution) -> dict[str, object]:
    name, version = distribution.name.lower().replace("_", "-"), distribution.version
    component: dict[str, object] = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
    }
    license_name = distribution.metadata.get("License-Expression")
    return component | ({"licenses": [{"expression": license_name}]} if license_name else {})


if __name__ == "__main__":
    service, path = sys.argv[1:]
    Path(path).write_text(json.dumps(bill(service), indent=1) + "\n")
