"""The policy in force: everything that a decision needs, of one version, never half old and half new."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vecsec_policy.cedar_engine import CedarEngine
from vecsec_policy.policy_files import load_policy_source
from vecsec_policy.principals import Role, Tenant


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """One version of the policy, compiled."""

    version: str
    """The content hash of the policy files."""
    engine: CedarEngine
    roles: Mapping[str, Role]
    tenants: Mapping[str, Tenant]


def load_snapshot(folder: Path) -> PolicySnapshot:
    """Read, check and compile a policy folder.

    Raises:
        StartupError: in one line with file, line and reason.
    """
    source = load_policy_source(folder)
    return PolicySnapshot(source.version, CedarEngine.compile(source), source.roles, source.tenants)


class PolicyInForce:
    """Holds the snapshot that decides. A use case reads `current` once and keeps what it read; putting another snapshot
    in its place is one assignment, so no call ever sees two versions."""

    def __init__(self, snapshot: PolicySnapshot) -> None:
        self.current = snapshot
