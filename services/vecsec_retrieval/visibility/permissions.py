"""What a grant lets a call do here, the same for every use case.

A grant is verified and held to its action. Which labels it makes visible is what its residual policies say, decided by
Cedar once for each class of labels. Labels that do not fit the policy's schema, which the grant tells, are never
visible: the check refuses them likewise.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import sha256
from typing import NamedTuple

import cedarpy
import numpy as np
from cachetools import LRUCache

from vecsec_chassis.auth.grants import GrantVerifier
from vecsec_chassis.domain.access import Action, Grant
from vecsec_chassis.domain.caller_sets import CallerSets
from vecsec_chassis.domain.errors import AccessDenied, CollectionNotFound, InvalidGrant, RealRetrievalOff
from vecsec_chassis.domain.identifiers import DEFAULT_COLLECTION_ID
from vecsec_chassis.domain.label_schema import LabelSchema
from vecsec_chassis.domain.labels import Label, rule_attributes
from vecsec_chassis.flag.flag import RealRetrievalFlag
from vecsec_chassis.telemetry.metrics import CacheCounter
from vecsec_chassis.telemetry.tracing import Timed
from vecsec_retrieval.model.cache_scope import CacheScope
from vecsec_retrieval.visibility.grant_uses import GrantUses
from vecsec_retrieval.visibility.label_classes import NO_SETS, LabelClasses, Sets, Signature, is_readable
from vecsec_retrieval.visibility.label_table import LabelTable, Visible

_REMEMBERED_VERDICTS = 100_000
"""Of all residuals together: some 40 MB."""
_MOST_OF_ONE = _REMEMBERED_VERDICTS // 2
"""Of one residual: a tenant whose labels fall into ever more classes leaves room for the others."""
_VERDICTS_WORTH_A_RESIDUAL = 50
"""A residual itself takes as much memory as so many verdicts; so 2,000 of them are remembered."""
_REMEMBERED_MEMBERS = 50_000
"""Of all callers' sets together: 5 MB."""
_NUMBERS = itertools.count()
"""Of all residuals of this process: tables of labels remember by them what is visible."""
_LABELS_A_BATCH = 64
"""Cedar holds the interpreter while it decides, ~50 µs a label; between batches others get their turn."""
_RETRY_SECONDS = 5.0


class Permissions:
    """Verifies grants and holds calls to them."""

    def __init__(
        self, verifier: GrantVerifier, flag: RealRetrievalFlag, decisions: "ResidualDecisions", uses: GrantUses
    ) -> None:
        self._verifier = verifier
        self._flag = flag
        self._decisions = decisions
        self._uses = uses

    async def require(self, token: str, action: Action) -> "Visibility":
        """What the verified grant sees. A call of another tenant's caller is counted, whatever becomes of it.

        Raises:
            InvalidGrant: if it does not verify or is for another action.
            AuditUnavailable: if it crosses tenants, and that cannot be put on record.
        """
        with Timed("grant"):
            grant = await self._verifier.verify(token)
        if grant.action is not action:
            raise InvalidGrant(
                "the grant is for another action; plan access again", detail=f"{grant.action} instead of {action}"
            )
        if not grant.crosses_tenants:
            return Visibility(self._decisions, grant)
        self._uses.count_call(token)
        return Visibility(self._decisions, grant, partial(self._uses.count_rows, token))

    async def require_reading(
        self, token: str, *, embeddings: bool = False, action: Action = Action.READ
    ) -> "Visibility":
        """What the verified grant sees of which something is to be told: rows, ids, counts.

        Raises:
            InvalidGrant, AuditUnavailable: as `require` does.
            AccessDenied: if embeddings are wanted and the caller may not configure.
            RealRetrievalOff: if the shared flag keeps this tenant's real rows inside.
        """
        visibility = await self.require(token, action)
        grant = visibility.grant
        if embeddings and not grant.may_configure:
            raise AccessDenied(
                "embeddings are only for callers whose role may configure the tenant; across tenants, whose role has "
                "embeddings_across_tenants"
            )
        if not self._flag.is_on(grant.tenant_id):
            raise RealRetrievalOff("real vector retrieval is switched off", retry_after=_RETRY_SECONDS)
        return visibility


class Visibility:
    """A verified grant's eyes: which of some labels its action may touch."""

    def __init__(
        self, decisions: "ResidualDecisions", grant: Grant, count_rows: Callable[[int], None] | None = None
    ) -> None:
        self._decisions = decisions
        self.grant = grant
        self._count_rows = count_rows
        self.cache_scope = CacheScope(grant.tenant_id, grant.caller_tenant_id, grant.subject)
        """Whose eyes these are."""
        self.policy_version = grant.policy_version
        self._looked_at: tuple[LabelTable, Visible] | None = None

    def count_rows(self, rows: int) -> None:
        """A call gave, stored or deleted so many rows, or ids of rows: of another tenant's callers that is recorded."""
        if self._count_rows is not None:
            self._count_rows(rows)

    @cached_property
    def _sets_digest(self) -> str:
        """What stands for the caller's sets where much is remembered by them: they may take 20 kB."""
        sets = self.grant.sets
        return f"{sets.sizes}{sha256(sets.joined).hexdigest()}" if sets.members else ""

    @property
    def key(self) -> str:
        """What they see follows from this: the rules, and the sets of the caller's that these ask for."""
        return self.grant.residual + self._sets_digest

    async def of(self, labels: Iterable[Label]) -> frozenset[Label]:
        """Those of the labels that are visible; one that cannot be decided is not among them.

        Raises:
            InvalidGrant: if the grant's residual is no policy set.
        """
        residual, sets = self._decisions.residual(self.grant), self._decisions.sets(self.grant)
        schema = self.grant.label_schema
        is_fit = is_readable if schema is None else schema.fits
        readable = [label for label in dict.fromkeys(labels) if is_fit(label)]
        verdicts = await self._decisions.verdicts(residual, readable, sets)
        return frozenset(label for label, verdict in zip(readable, verdicts, strict=True) if verdict)

    async def in_table(self, table: LabelTable) -> Visible:
        """Which of a table's labels are visible. Labels that are added while it waits are not part of the answer.

        Raises:
            InvalidGrant: if the grant's residual is no policy set.
        """
        if self._looked_at is not None and self._looked_at[0] is table and len(self._looked_at[1]) == len(table):
            return self._looked_at[1]  # a call looks twice: whether anything is visible, and then for what
        visible = await self._in_table(table)
        self._looked_at = table, visible
        return visible

    async def _in_table(self, table: LabelTable) -> Visible:
        residual = self._decisions.residual(self.grant)
        eyes = residual.number, self._sets_digest
        remembered = table.visible_to(eyes)
        self._decisions.visible_lookups.count(found=remembered is not None)
        if remembered is not None:
            return remembered
        sets, schema = self._decisions.sets(self.grant), self.grant.label_schema
        class_of_label, representatives = table.classify(residual.classes, sets)
        unfit = list(table.unreadable) if schema is None else table.codes_beside(schema)
        used = np.flatnonzero(representatives >= 0)
        verdicts = np.zeros(len(representatives), dtype=np.bool_)
        asked = [table.labels[code] for code in representatives[used].tolist()]
        verdicts[used] = await self._decisions.verdicts(residual, asked, sets)
        visible: Visible = verdicts[class_of_label]
        visible[unfit] = False
        table.remember(eyes, visible)
        return visible


class _ResidualKey(NamedTuple):
    action: Action
    policies: str
    """In Cedar's JSON format."""
    label_schema: LabelSchema | None
    """Tables remember by the residual what is visible, and that depends on this, too."""


@dataclass(frozen=True, slots=True)
class _Residual:
    number: int
    """No other residual of this process has it."""
    key: _ResidualKey
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
        self._residuals: LRUCache[_ResidualKey, _Residual] = LRUCache(_REMEMBERED_VERDICTS, getsizeof=_Residual.weight)
        self._sets: LRUCache[CallerSets, Sets] = LRUCache(_REMEMBERED_MEMBERS, getsizeof=_size)
        self.residual_lookups, self.visible_lookups, self.verdict_lookups = (
            CacheCounter(),
            CacheCounter(),
            CacheCounter(),
        )
        """How often a parsed residual, what it sees of a table, and the verdict on a class of labels were at hand."""

    async def verdicts(self, residual: _Residual, labels: Sequence[Label], sets: Sets) -> list[bool]:
        """Whether the residual permits each of these labels, which Cedar can read, to a caller with these sets."""
        verdicts: list[bool] = []
        is_new = False
        for start in range(0, len(labels), _LABELS_A_BATCH):
            if start:
                await asyncio.sleep(0)
            batch = labels[start : start + _LABELS_A_BATCH]
            signatures = [residual.classes.signature(label, sets) for label in batch]
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
                decided = _decide(residual, undecided.values(), sets)
                known = {signature: known[signature] for signature in signatures if signature in known}
                known |= dict(zip(undecided, decided, strict=True))
                residual.remember(known)
            verdicts.extend(known[signature] for signature in signatures)
        if is_new and self._residuals.get(residual.key) is residual:
            # Accounts for what was added to it: residuals that were not used for longest have to go.
            self._residuals[residual.key] = residual
        return verdicts

    def residual(self, grant: Grant) -> _Residual:
        """The grant's residual, parsed.

        Raises:
            InvalidGrant: if it is no policy set.
        """
        key = _ResidualKey(grant.action, grant.residual, grant.label_schema)
        residual = self._residuals.get(key)
        self.residual_lookups.count(found=residual is not None)
        if residual is None:
            try:
                policies = cedarpy.PolicySet.from_json_str(grant.residual)
                classes = LabelClasses.of_residual(grant.residual)
            except ValueError as error:
                raise InvalidGrant("the grant holds no usable rules; plan access again", detail=str(error)) from error
            residual = self._residuals[key] = _Residual(next(_NUMBERS), key, policies, classes)
        missing = residual.classes.sets - grant.sets.names
        if missing:
            raise InvalidGrant(
                "the grant holds no usable rules; plan access again",
                detail=f"it lacks the caller's {', '.join(sorted(missing))}",
            )
        return residual

    def sets(self, grant: Grant) -> Sets:
        """The caller's sets as the grant carries them."""
        if not grant.sets.members:
            return NO_SETS
        sets = self._sets.get(grant.sets)
        if sets is None:
            sets = self._sets[grant.sets] = {name: grant.sets.hashes(name) for name in grant.sets.names}
        return sets


def refuse_unseen(collection_id: str) -> None:
    """A caller sees nothing in this collection: the same answer whether it is absent, empty or hidden.

    Raises:
        CollectionNotFound: unless it is the default collection, which every tenant has, if only empty.
    """
    if collection_id != DEFAULT_COLLECTION_ID:
        raise CollectionNotFound(collection_id)


def _size(sets: Sets) -> int:
    return sum(map(len, sets.values()))


def _decide(residual: _Residual, labels: Iterable[Label], sets: Sets) -> list[bool]:
    entities, requests = [], []
    for number, label in enumerate(labels):
        resource = {"type": "Document", "id": str(number)}
        entities.append({"uid": resource, "attrs": rule_attributes(label), "parents": []})
        requests.append(
            {
                "principal": 'Caller::"caller"',
                "action": f'Action::"{residual.key.action.value}"',
                "resource": resource,
                "context": residual.classes.members(label, sets),
            }
        )
    results = cedarpy.is_authorized_batch(requests, residual.policies, entities)
    # Cedar skips a policy that fails to evaluate, also one that forbids; here a failure means no.
    return [result.decision is cedarpy.Decision.Allow and not result.diagnostics.errors for result in results]
