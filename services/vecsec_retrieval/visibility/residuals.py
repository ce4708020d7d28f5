"""Which labels a grant makes visible: its residual policies, decided by Cedar once for each class of labels."""

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import cedarpy
import numpy as np
from cachetools import LRUCache

from vecsec_chassis.domain.access import Action, Grant
from vecsec_chassis.domain.errors import InvalidGrant
from vecsec_chassis.domain.labels import Label, rule_attributes
from vecsec_chassis.telemetry.metrics import CacheCounter
from vecsec_retrieval.model.cache_scope import CacheScope
from vecsec_retrieval.visibility.label_classes import LabelClasses, Signature, is_readable
from vecsec_retrieval.visibility.label_table import LabelTable, Visible

_REMEMBERED_VERDICTS = 100_000
"""Of all residuals together: some 40 MB."""
_MOST_OF_ONE = _REMEMBERED_VERDICTS // 2
"""Of one residual: a tenant whose labels fall into ever more classes leaves room for the others."""
_VERDICTS_WORTH_A_RESIDUAL = 50
"""A residual itself takes as much memory as so many verdicts; so 2,000 of them are remembered."""
_NUMBERS = itertools.count()
"""Of all residuals of this process: tables of labels remember by them what is visible."""
_LABELS_A_BATCH = 64
"""Cedar holds the interpreter while it decides, ~50 µs a label; between batches others get their turn."""


@dataclass(frozen=True, slots=True)
class _Residual:
    number: int
    """No other residual of this process has it."""
    key: tuple[Action, str]
    """The action, and the policy set in Cedar's JSON format."""
    policies: cedarpy.PolicySet
    classes: LabelClasses
    verdicts: dict[Signature, bool] = field(default_factory=dict)

    def weight(self) -> int:
        return _VERDICTS_WORTH_A_RESIDUAL + len(self.verdicts)

    def remember(self, verdicts: Mapping[Signature, bool]) -> None:
        """Keep some verdicts; where there are too many, those that were kept before go."""
        if len(self.verdicts) + len(verdicts) > _MOST_OF_ONE:
            self.verdicts.clear()
        self.verdicts.update(verdicts)


class ResidualDecisions:
    """Decides labels and remembers the verdicts, which depend on nothing but the residual, the action and the class."""

    def __init__(self) -> None:
        self._residuals: LRUCache[tuple[Action, str], _Residual] = LRUCache(
            _REMEMBERED_VERDICTS, getsizeof=_Residual.weight
        )
        self.residual_lookups, self.visible_lookups, self.verdict_lookups = (
            CacheCounter(),
            CacheCounter(),
            CacheCounter(),
        )
        """How often a parsed residual, what it sees of a table, and the verdict on a class of labels were at hand."""

    async def visible(self, grant: Grant, labels: Mapping[str, Label]) -> frozenset[str]:
        """The keys of those labels that the grant's action may touch; a label that cannot be decided is not among them.

        Raises:
            InvalidGrant: if the residual is no policy set.
        """
        residual = self._residual(grant)
        readable = {key: label for key, label in labels.items() if is_readable(label)}
        verdicts = await self._verdicts(residual, list(readable.values()))
        return frozenset(key for key, verdict in zip(readable, verdicts, strict=True) if verdict)

    async def visible_in(self, grant: Grant, table: LabelTable) -> Visible:
        """Which of a table's labels the grant's action may touch. Labels that are added while it waits are not part of
        the answer.

        Raises:
            InvalidGrant: if the residual is no policy set.
        """
        residual = self._residual(grant)
        remembered = table.visible_to(residual.number)
        self.visible_lookups.count(found=remembered is not None)
        if remembered is not None:
            return remembered
        class_of_label, representatives = table.classify(residual.classes)
        unreadable = list(table.unreadable)
        used = np.flatnonzero(representatives >= 0)
        verdicts = np.zeros(len(representatives), dtype=np.bool_)
        verdicts[used] = await self._verdicts(residual, [table.labels[code] for code in representatives[used].tolist()])
        visible: Visible = verdicts[class_of_label]
        visible[unreadable] = False
        table.remember(residual.number, visible)
        return visible

    async def _verdicts(self, residual: _Residual, labels: Sequence[Label]) -> list[bool]:
        verdicts: list[bool] = []
        is_new = False
        for start in range(0, len(labels), _LABELS_A_BATCH):
            if start:
                await asyncio.sleep(0)
            batch = labels[start : start + _LABELS_A_BATCH]
            signatures = [residual.classes.signature(label) for label in batch]
            undecided = {
                signature: label
                for signature, label in zip(signatures, batch, strict=True)
                if signature not in residual.verdicts
            }
            self.verdict_lookups.hits += len(batch) - len(undecided)
            self.verdict_lookups.misses += len(undecided)
            known = residual.verdicts
            if undecided:
                is_new = True
                decided = _decide(residual.policies, residual.key[0], undecided.values())
                known = {signature: known[signature] for signature in signatures if signature in known}
                known |= dict(zip(undecided, decided, strict=True))
                residual.remember(known)
            verdicts.extend(known[signature] for signature in signatures)
        if is_new:
            self._weigh(residual)
        return verdicts

    def _weigh(self, residual: _Residual) -> None:
        """Account for what was added to a residual; those that were not used for longest have to go."""
        if self._residuals.get(residual.key) is residual:
            self._residuals[residual.key] = residual

    def _residual(self, grant: Grant) -> _Residual:
        key = (grant.action, grant.residual)
        residual = self._residuals.get(key)
        self.residual_lookups.count(found=residual is not None)
        if residual is None:
            try:
                policies = cedarpy.PolicySet.from_json_str(grant.residual)
            except ValueError as error:
                raise InvalidGrant("the grant holds no usable rules; plan access again", detail=str(error)) from error
            classes = LabelClasses.of_residual(grant.residual)
            residual = self._residuals[key] = _Residual(next(_NUMBERS), key, policies, classes)
        return residual


class Visibility:
    """A grant's eyes: which of some labels it sees."""

    def __init__(self, decisions: ResidualDecisions, grant: Grant) -> None:
        self._decisions = decisions
        self._grant = grant
        self.cache_scope = CacheScope(grant.tenant_id, grant.caller_tenant_id, grant.subject)
        """Whose eyes these are."""
        self.policy_version = grant.policy_version
        self.residual = grant.residual
        """The rules that say what they see."""

    async def of(self, labels: Mapping[str, Label]) -> frozenset[str]:
        """The keys of the visible labels.

        Raises:
            InvalidGrant: if the grant's residual is no policy set.
        """
        return await self._decisions.visible(self._grant, labels)

    async def in_table(self, table: LabelTable) -> Visible:
        """Which of a table's labels are visible; without those that are added meanwhile.

        Raises:
            InvalidGrant: if the grant's residual is no policy set.
        """
        return await self._decisions.visible_in(self._grant, table)


def _decide(policies: cedarpy.PolicySet, action: Action, labels: Iterable[Label]) -> list[bool]:
    entities, requests = [], []
    for number, label in enumerate(labels):
        resource = {"type": "Document", "id": str(number)}
        entities.append({"uid": resource, "attrs": rule_attributes(label), "parents": []})
        requests.append(
            {
                "principal": 'Caller::"caller"',
                "action": f'Action::"{action.value}"',
                "resource": resource,
                "context": {},
            }
        )
    results = cedarpy.is_authorized_batch(requests, policies, entities)
    # Cedar skips a policy that fails to evaluate, also one that forbids; here a failure means no.
    return [result.decision is cedarpy.Decision.Allow and not result.diagnostics.errors for result in results]
