"""The whole system as three real processes, used as a customer uses it: `vecsec up`, `token`, `import`, `search`.

The two tests that the operations runbook names prove tenant isolation:
`pytest tests/test_e2e_validation.py -v` runs them.
"""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.installation import Installation, running_installation
from tenancy.oracle import CLEARANCES, LEVELS, Oracle, Person, Row

from vecsec_policy.settings import PACKAGED_POLICY

SCOPES = {"tenant_a": ("retrieval", "rag", "langchain", "marketing"), "tenant_b": ("finance", "policy", "marketing")}
ALL = 200


def rows_of(tenant_id: str) -> list[dict[str, Any]]:
    """A row for every sensitivity and topic; half of the ids stand in both tenants; every text names its owner."""
    topics = sorted(set(itertools.chain(*SCOPES.values())))
    return [
        {
            "id": f"{'shared' if number % 2 else tenant_id}-{number}",
            "text": f"sentinel of {tenant_id}: quarterly plan number {number} about {topic}",
            "sensitivity": level,
            "topics": [topic],
        }
        for number, (level, topic) in enumerate(itertools.product(LEVELS, topics))
    ]


def expected_ids(tenant_id: str, role: str) -> set[str]:
    rows = {row["id"]: Row(row["text"], row["sensitivity"], tuple(row["topics"])) for row in rows_of(tenant_id)}
    oracle = Oracle({tenant_id: set(SCOPES[tenant_id])}, {tenant_id: rows})
    return set(oracle.readable(Person(tenant_id, role, CLEARANCES[role]), tenant_id))


@pytest.fixture(scope="class")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with running_installation(tmp_path_factory.mktemp("e2e")) as running:
        for tenant_id in SCOPES:
            done = running.import_rows(tenant_id, rows_of(tenant_id))
            assert done["stored"] == len(rows_of(tenant_id))
        yield running


@pytest.mark.timeout(900)
class TestE2EValidation:
    """Against three real processes."""

    def test_e2e_tenant_isolation(self, installation: Installation) -> None:
        """Each caller of each tenant gets exactly the rows that the rules give it, and no row of the other tenant."""
        for tenant_id, role in itertools.product(SCOPES, CLEARANCES):
            token = installation.token(tenant_id, role, CLEARANCES[role])
            answer = installation.search(token, tenant_id, "sentinel quarterly plan", ALL)
            assert answer["provenance"] == "PROVENANCE_REAL"
            assert {row["provenance"] for row in answer["results"]} == {"PROVENANCE_REAL"}
            assert {row["tenant_id"] for row in answer["results"]} == {tenant_id}
            assert all(f"sentinel of {tenant_id}:" in row["text"] for row in answer["results"])
            assert {row["document_id"] for row in answer["results"]} == expected_ids(tenant_id, role), role

    def test_e2e_no_tenant_data_leakage(self, installation: Installation) -> None:
        """Whatever a caller of one tenant tries against the other is refused, and no byte of its data comes back."""
        attempts = [
            ("search", "sentinel of tenant_b", "--tenant", "tenant_b", "--k", "10", "--json"),
            ("search", "sentinel of tenant_b", "--tenant", "tenant_b", "--k", "10", "--json", "--allow-mock"),
            ("get", "tenant_b-0", "shared-1", "--tenant", "tenant_b", "--json"),
            ("delete", "tenant_b-0", "--tenant", "tenant_b", "--yes", "--json"),
            ("collections", "--tenant", "tenant_b", "--json"),
            ("violations", "--tenant", "tenant_b", "--json"),
            ("policy", "labels", "--tenant", "tenant_b", "--json"),
        ]
        for role in ("guest", "analyst", "superuser"):
            token = installation.token("tenant_a", role, CLEARANCES[role])
            for attempt in attempts:
                done = installation.run(*attempt, token=token, check=False)
                assert done.returncode != 0, attempt
                assert "sentinel of tenant_b:" not in done.stdout + done.stderr, attempt
            own = installation.search(token, "tenant_a", "sentinel of tenant_b", ALL)
            assert "sentinel of tenant_b:" not in json.dumps(own)
            fetched = installation.run("get", "tenant_b-0", "--tenant", "tenant_a", "--json", token=token, check=False)
            assert "sentinel of tenant_b:" not in fetched.stdout + fetched.stderr
        untouched = installation.search(installation.token("tenant_b", "admin", "SECRET"), "tenant_b", "plan", ALL)
        assert {row["document_id"] for row in untouched["results"]} == expected_ids("tenant_b", "admin")

    def test_e2e_logs_and_audit_hold_no_content(self, installation: Installation) -> None:
        """Labels and ids may be recorded; texts, vectors and tokens never are."""
        token = installation.token("tenant_a")
        installation.search(token, "tenant_a", "a very particular question")
        written = [*installation.state_dir.glob("logs/*"), *installation.state_dir.glob("audit/*")]
        assert len(written) >= 4
        for path in written:
            text = path.read_bytes().decode(errors="replace")  # the index of violations is no text
            assert "sentinel of" not in text, path
            assert "a very particular question" not in text, path
            assert token not in text, path
            assert "eyJ" not in text, path

    def test_e2e_a_candidate_is_compared_with_what_is_stored_and_what_was_recorded(
        self, installation: Installation, tmp_path: Path
    ) -> None:
        """Labels come from the services, decisions from the audit log; the policy in force decides them as it did."""
        candidate = shutil.copytree(PACKAGED_POLICY, tmp_path / "candidate")
        roles = (candidate / "roles.yaml").read_text()
        (candidate / "roles.yaml").write_text(roles.replace("max_clearance: INTERNAL", "max_clearance: CONFIDENTIAL"))
        admin = installation.token("tenant_a", "admin", "SECRET")
        diff = ("policy", "diff", str(PACKAGED_POLICY), str(candidate), "--tenant", "tenant_a", "--json")
        [change] = json.loads(installation.run(*diff, token=admin).stdout)["by_label"]
        stored = [row for row in rows_of("tenant_a") if row["sensitivity"] == "CONFIDENTIAL"]
        gained = [row for row in stored if set(row["topics"]) <= set(SCOPES["tenant_a"])]
        assert (change["role"], change["gained_rows"], change["lost_rows"]) == ("analyst", len(gained), 0)
        [log] = installation.state_dir.glob("audit/*.jsonl")
        replay = ("policy", "replay", str(PACKAGED_POLICY), "--audit-log", str(log), "--json")
        replayed = json.loads(installation.run(*replay).stdout)
        assert replayed["decisions"] > 0
        assert (replayed["differences"], replayed["not_replayed"]) == ([], [])

    def test_e2e_data_survives_a_restart(self, tmp_path: Path) -> None:
        """What was acknowledged is there after a restart."""
        with running_installation(tmp_path) as first:
            first.import_rows("tenant_a", rows_of("tenant_a"))
            assert first.stop() == 0
        with running_installation(tmp_path) as second:
            answer = second.search(second.token("tenant_a", "admin", "SECRET"), "tenant_a", "plan", ALL)
            assert len(answer["results"]) == len(rows_of("tenant_a"))
