"""`python -m vecsec_policy.reload.candidate_worker FOLDER`: tries a candidate policy in a process of its own.

Parsing and checking hold the interpreter, some hundred milliseconds for a large policy, and a text that overflows the
parser's stack ends the process. Here it ends this one. What was asked for lately comes from stdin; what was checked
goes to stdout, ready to be compiled, with the plans that will be asked for first: in pieces, since the interpreter of
the service is held while one is read.
"""

import gc
import io
import pickle
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import AccessDenied, ConfigurationError, UnknownTenant
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_policy.folder.memberships import Memberships
from vecsec_policy.folder.principals import Caller
from vecsec_policy.in_force.evaluation import decide_entry
from vecsec_policy.in_force.snapshot import CheckedPolicy, PolicySnapshot, load_snapshot
from vecsec_policy.reload.recent_plans import PlanRequest

CheckOutcome: TypeAlias = CheckedPolicy | str
"""What was checked, or the complaint."""

LONGEST_SECONDS = 60
"""After that it ends, whatever it is at."""
_MOST_ROLES = 50
_SOME_DAY = 20000101
_UNNOTICED_SECONDS = 0.9
"""While the check has not taken longer, plans are made: the change is in force within two seconds all the same."""
_PLANNING_SECONDS = 0.3
"""Where it has, they are made for so long: the change, which may take rights away, waits for them."""
_ITEMS_A_PIECE = (25, 150, 10, 500, 500, 20)
"""So many rules, tenants, plans, people, groups, and groups with their people: all are read in about 2 ms."""
_PAUSE_SECONDS = 0.002
_STARTED = time.monotonic()


def check(folder: Path, requests: Sequence[PlanRequest] = ()) -> CheckOutcome:
    """The policy, checked and tried out, with plans for recent `requests`; or the complaint, in one line with
    file, line and reason."""
    try:
        policy = load_snapshot(folder)
        _decide_for_each_role(policy)
        _plan_ahead(policy, requests)
    except ConfigurationError as complaint:
        return str(complaint)
    return policy.checked


def _decide_for_each_role(policy: PolicySnapshot) -> None:
    """Decide something for each role, so that what fails only then fails here.

    Raises:
        ConfigurationError: if no plan can be made for some role.
    """
    tenant = next(iter(policy.tenants.values()))
    labels = [Label(tenant.tenant_id, Sensitivity.INTERNAL, tenant.topics), Label("", None, frozenset())]
    for role in list(policy.roles.values())[:_MOST_ROLES]:
        caller = Caller("trial", tenant, role, role.max_clearance, today=_SOME_DAY)
        policy.engine.decide_entry(caller, tenant, list(Action))
        policy.engine.decide_rows(caller, tenant, Action.READ, labels)
        try:
            policy.engine.plan(caller, tenant, Action.READ)
        except ValueError as error:
            raise ConfigurationError(f"the rules give no plan to read for role {role.name!r}: {error}") from error


def _plan_ahead(policy: PolicySnapshot, requests: Sequence[PlanRequest]) -> None:
    """Make, and so remember, the plans that will be asked for first, while there is time."""
    until = max(_STARTED + _UNNOTICED_SECONDS, time.monotonic() + _PLANNING_SECONDS)
    for each in requests:
        if time.monotonic() > until:
            return
        try:
            access = decide_entry(policy, each.identity, each.tenant_id, each.action, now=time.time())
            if access.entry.allowed:
                policy.engine.plan(access.caller, access.target, each.action)
        except (AccessDenied, UnknownTenant, ValueError):
            continue  # whoever asks again is told


def outcome_as_bytes(outcome: CheckOutcome) -> bytes:
    """The outcome, to be sent."""
    return b"".join(map(pickle.dumps, _pieces(outcome)))


def read_outcome(output: bytes) -> CheckOutcome:
    """What `outcome_as_bytes` wrote. Pauses between pieces, so it belongs into a thread of its own."""
    stream = io.BytesIO(output)
    outcome: CheckOutcome = pickle.load(stream)  # noqa: S301 (our own process wrote it)
    if isinstance(outcome, str):
        return outcome
    while stream.tell() < len(output):
        time.sleep(_PAUSE_SECONDS)
        for whole, piece in zip(_parts(outcome), pickle.load(stream), strict=True):  # noqa: S301 (as above)
            whole.update(piece)
    return outcome


def _pieces(outcome: CheckOutcome) -> Iterator[object]:
    if isinstance(outcome, str):
        yield outcome
        return
    memberships = Memberships(changed_at=outcome.memberships.changed_at)
    yield replace(outcome, rules=replace(outcome.rules, rules={}), tenants={}, plans={}, memberships=memberships)
    parts = [iter(part.items()) for part in _parts(outcome)]
    while any(piece := [dict(islice(part, size)) for part, size in zip(parts, _ITEMS_A_PIECE, strict=True)]):
        yield piece


def _parts(policy: CheckedPolicy) -> tuple[dict[Any, Any], ...]:
    """What may be large: rules, tenants, plans, and all tables of memberships."""
    listed = policy.memberships
    tables = listed.of_people, listed.of_groups, listed.of_each_group
    return policy.rules.rules, policy.tenants, policy.plans, *tables


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.disable()  # a third of its time, and what it would free is freed in a moment
    signal.alarm(LONGEST_SECONDS)  # also if whoever waits for the outcome is gone
    requests: list[PlanRequest] = pickle.load(sys.stdin.buffer)  # noqa: S301 (our own process wrote it)
    sys.stdout.buffer.write(outcome_as_bytes(check(Path(sys.argv[1]), requests)))


if __name__ == "__main__":
    _main()
