"""What was planned lately, so that a new version of the policy has those plans ready when it is put in force."""

from collections import OrderedDict
from dataclasses import dataclass, replace

from vecsec_chassis.domain.access import Action, Identity
from vecsec_policy.in_force.evaluation import Standing

_REMEMBERED = 50
_NOBODY = ""


@dataclass(frozen=True, slots=True)
class AskedPlan:
    """What was asked for, in words that mean something to any version of the policy."""

    identity: Identity
    """Without what plans do not depend on."""
    tenant_id: str
    action: Action


class RecentPlans:
    """Knows the last plans that were made, each kind of caller once."""

    def __init__(self) -> None:
        self._asked: OrderedDict[AskedPlan, None] = OrderedDict()

    def note(self, standing: Standing) -> None:
        """A plan was made."""
        identity = standing.identity
        subject = identity.subject if standing.policy.engine.checked.rows_ask_who else _NOBODY
        asked = AskedPlan(
            replace(identity, subject=subject, issuer=_NOBODY, expires_at=0.0),
            standing.target.tenant_id,
            standing.action,
        )
        self._asked[asked] = None
        self._asked.move_to_end(asked)
        if len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)

    def latest(self) -> list[AskedPlan]:
        """The newest first."""
        return list(reversed(self._asked))
