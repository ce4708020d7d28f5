"""Which labels a grant makes visible: its residual policies, decided by Cedar once per distinct label."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cedarpy
from cachetools import LRUCache

from vecsec_chassis.access import Action, Grant
from vecsec_chassis.errors import InvalidGrant
from vecsec_chassis.labels import Label, rule_attributes

_REMEMBERED_RESIDUALS = 2_000
_LABELS_A_BATCH = 64
"""Cedar holds the interpreter while it decides, ~50 µs a label; between batches others get their turn."""


@dataclass(frozen=True, slots=True)
class _Residual:
    policies: cedarpy.PolicySet
    verdicts: dict[str, bool]


class ResidualDecisions:
    """Decides labels and remembers the verdicts, which depend on nothing but the residual, the action and the label."""

    def __init__(self) -> None:
        self._residuals: LRUCache[tuple[Action, str], _Residual] = LRUCache(maxsize=_REMEMBERED_RESIDUALS)

    async def visible(self, grant: Grant, labels: Mapping[str, Label]) -> frozenset[str]:
        """The keys of those labels that the grant's action may touch; a label that cannot be decided is not among them.

        Raises:
            InvalidGrant: if the residual is no policy set.
        """
        residual = self._residual(grant)
        verdicts = residual.verdicts
        undecided = [(key, label) for key, label in labels.items() if key not in verdicts]
        for start in range(0, len(undecided), _LABELS_A_BATCH):
            if start:
                await asyncio.sleep(0)
            batch = undecided[start : start + _LABELS_A_BATCH]
            verdicts.update(_decide(residual.policies, grant.action, batch))
        # Labels that were added meanwhile are not decided yet: not visible for now.
        return frozenset(key for key in labels if verdicts.get(key))

    def _residual(self, grant: Grant) -> _Residual:
        key = (grant.action, grant.residual)
        residual = self._residuals.get(key)
        if residual is None:
            try:
                policies = cedarpy.PolicySet.from_json_str(grant.residual)
            except ValueError as error:
                raise InvalidGrant("the grant holds no usable rules; plan access again", detail=str(error)) from error
            residual = self._residuals[key] = _Residual(policies, {})
        return residual


class Visibility:
    """A grant's eyes: which of some labels it sees."""

    def __init__(self, decisions: ResidualDecisions, grant: Grant) -> None:
        self._decisions = decisions
        self._grant = grant

    async def of(self, labels: Mapping[str, Label]) -> frozenset[str]:
        """The keys of the visible labels.

        Raises:
            InvalidGrant: if the grant's residual is no policy set.
        """
        return await self._decisions.visible(self._grant, labels)


def _decide(policies: cedarpy.PolicySet, action: Action, labels: Iterable[tuple[str, Label]]) -> Mapping[str, bool]:
    entities, requests, keys = [], [], []
    for key, label in labels:
        resource = {"type": "Document", "id": key}
        entities.append({"uid": resource, "attrs": rule_attributes(label), "parents": []})
        requests.append(
            {
                "principal": 'Caller::"caller"',
                "action": f'Action::"{action.value}"',
                "resource": resource,
                "context": {},
            }
        )
        keys.append(key)
    results = cedarpy.is_authorized_batch(requests, policies, entities)
    # Cedar skips a policy that fails to evaluate, also one that forbids; here a failure means no.
    return {
        key: result.decision is cedarpy.Decision.Allow and not result.diagnostics.errors
        for key, result in zip(keys, results, strict=True)
    }
