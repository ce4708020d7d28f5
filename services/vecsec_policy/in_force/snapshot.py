"""The policy in force: everything that a decision needs, of one version, never half old and half new."""

import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from vecsec_policy.cedar.checking import CheckedRules
from vecsec_policy.cedar.engine import CedarEngine, PlanKey
from vecsec_policy.folder.memberships import Memberships
from vecsec_policy.folder.policy_source import Diagnostics, PolicySource, read_policy_source
from vecsec_policy.folder.principals import Role, Tenant
from vecsec_policy.in_force.rollout import Rollout
from vecsec_policy.in_force.utc_day import day_of


@dataclass(frozen=True, slots=True)
class CheckedPolicy:
    """One version of the policy, checked. It can be sent to another process."""

    version: str
    rules: CheckedRules
    roles: dict[str, Role]
    tenants: dict[str, Tenant]
    memberships: Memberships
    plans: dict[PlanKey, str]
    """Plans by it that were made already."""


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """One version of the policy, compiled."""

    version: str
    """The content hash of the policy files."""
    engine: CedarEngine
    roles: Mapping[str, Role]
    tenants: Mapping[str, Tenant]
    memberships: Memberships = field(default_factory=Memberships)
    """Who belongs to which group beside what tokens say."""
    loaded_at: float = field(default_factory=time.time)
    """Seconds since the epoch."""

    @classmethod
    def of(cls, checked: CheckedPolicy) -> "PolicySnapshot":
        """Compile a policy that was checked. In a thread of its own it keeps nobody waiting."""
        engine = CedarEngine(checked.rules, checked.plans)
        return cls(checked.version, engine, checked.roles, checked.tenants, checked.memberships)

    def day(self, now: float) -> int | None:
        """The day at a time in seconds since the epoch, if the rules ask for it: others are spared deciding everything
        anew at midnight."""
        return day_of(now) if self.engine.depends_on_day else None

    @property
    def checked(self) -> CheckedPolicy:
        """What another process can be sent."""
        engine = self.engine
        return CheckedPolicy(
            self.version, engine.checked, dict(self.roles), dict(self.tenants), self.memberships, engine.plans
        )


def load_snapshot(folder: Path) -> PolicySnapshot:
    """Read, check and compile a policy folder.

    Raises:
        ConfigurationError: in one line with file, line and reason.
    """
    diagnostics = Diagnostics()
    _, policy = check_policy_folder(folder, diagnostics)
    diagnostics.raise_first()
    assert policy is not None, "nothing was wrong"
    return policy


def check_policy_folder(folder: Path, diagnostics: Diagnostics) -> tuple[PolicySource | None, PolicySnapshot | None]:
    """Read, check and compile a policy folder and note all that is wrong with it: what could be read, and the policy if
    nothing is wrong."""
    source = read_policy_source(folder, diagnostics)
    engine = None if source is None else CedarEngine.check(source, diagnostics)
    if source is None or engine is None:
        return source, None
    return source, PolicySnapshot(source.version, engine, source.roles, source.tenants, source.memberships)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that is being rolled out, and how far it has got."""

    policy: PolicySnapshot
    rollout: Rollout


@dataclass(frozen=True, slots=True)
class PolicyAssignment:
    """Which policy decides for whom."""

    current: PolicySnapshot
    candidate: Candidate | None = None

    def policy_for(self, tenant_id: str) -> PolicySnapshot:
        """The policy that decides over a tenant's rows: the candidate where the tenant is promoted to it."""
        candidate = self.candidate
        if candidate is not None and candidate.rollout.promotes(tenant_id):
            return candidate.policy
        return self.current


Forget: TypeAlias = Callable[[], MutableMapping[Any, Any] | None]
"""Begins to remember anew. What was remembered may be large: it is handed back, to be emptied a little at a time."""


class PolicyInForce:
    """Holds the assignment that is in force. A use case asks once what decides and keeps what it got; a change is one
    reference put in another's place, so no call ever sees two versions."""

    def __init__(self, assignment: PolicyAssignment) -> None:
        self._assignment = assignment
        self._listeners: list[Forget] = []

    @property
    def assignment(self) -> PolicyAssignment:
        """The assignment in force."""
        return self._assignment

    def adopt(self, assignment: PolicyAssignment) -> list[MutableMapping[Any, Any]]:
        """Put another assignment in force, and tell those who remember what followed from the old; what that was."""
        self._assignment = assignment
        outdated = [listener() for listener in self._listeners]
        return [each for each in outdated if each is not None]

    def on_change(self, listener: Forget) -> None:
        """Call this after each change: what is remembered is keyed by version anyway, but should not be kept."""
        self._listeners.append(listener)
