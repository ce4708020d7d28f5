"""What was planned lately, so that a new version of the policy has those plans ready when it is put in force."""

from collections import OrderedDict
from dataclasses import dataclass, replace

from vecsec_chassis.domain.access import Action, Identity
from vecsec_policy.in_force.evaluation import TenantAccess

_REMEMBERED = 50
_NOBODY = ""


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What was asked for, in words that mean something to any version of the policy."""

    identity: Identity
    """Without what plans do not depend on."""
    tenant_id: str
    action: Action


class RecentPlans:
    """Knows the last plans that were made, each kind of caller once."""

    def __init__(self) -> None:
        self._asked: OrderedDict[PlanRequest, None] = OrderedDict()

    def note(self, access: TenantAccess) -> None:
        """A plan was made."""
        identity, planned = access.identity, access.policy.engine.as_planned(access.caller)
        kind = replace(
            identity,
            subject=identity.subject if planned.subject == identity.subject else _NOBODY,
            issuer=_NOBODY,
            expires_at=0.0,
            groups=identity.groups if planned.groups else (),
            attributes=planned.attributes,
        )
        request = PlanRequest(kind, access.target.tenant_id, access.action)
        self._asked[request] = None
        self._asked.move_to_end(request)
        if len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)

    def latest(self) -> list[PlanRequest]:
        """The newest first."""
        return list(reversed(self._asked))
