"""A snapshot on the disk is not what was written: whoever is on call is told, callers lose nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.installation import Installation, running_installation

from vecsec_retrieval.model.store import SNAPSHOT_SUFFIX

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROWS = [{"id": f"d{each}", "text": "a passage", "sensitivity": "PUBLIC", "topics": ["rag"]} for each in range(150)]


def told(installation: Installation) -> dict[str, Any] | None:
    checks = json.loads(installation.run("doctor", "--json", check=False).stdout)["checks"]
    return next((each for each in checks if each["check"] == "snapshots"), None)


def search(installation: Installation) -> int:
    token = installation.token("tenant_a", "admin", "SECRET")
    return len(installation.search(token, "tenant_a", "a passage", 200)["results"])


def test_threat_27_doctor_tells_of_a_snapshot_that_was_made_again(tmp_path: Path) -> None:
    with running_installation(tmp_path) as installation:
        installation.import_rows("tenant_a", ROWS)
        assert search(installation) == len(ROWS)
        assert told(installation) is None
    (file,) = installation.state_dir.rglob(f"*{SNAPSHOT_SUFFIX}")  # made as the cell was closed
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with running_installation(tmp_path) as installation:
        assert search(installation) == len(ROWS)
        warning = told(installation)
        assert warning is not None
        assert warning["state"] == "warn"
        assert warning["detail"].startswith("1 were not what was written since retrieval started")
        assert "retrieval.log" in warning["remedy"]
