"""What each says who decides: full Cedar, the check, and by the plan retrieval's mask and its look at single rows."""

import json
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cedarpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from fuzz.case import Ask, Case
from vecsec_chassis.auth.grants import GrantSigner, GrantVerifier, thumbprint
from vecsec_chassis.auth.signatures import PublicKey
from vecsec_chassis.domain.access import Action, Grant
from vecsec_chassis.domain.labels import Label, rule_attributes
from vecsec_policy.cedar.entities import caller_uid
from vecsec_policy.folder.principals import Caller, Tenant
from vecsec_policy.in_force.snapshot import PolicySnapshot, load_snapshot
from vecsec_retrieval.visibility.label_table import LabelTable
from vecsec_retrieval.visibility.permissions import ResidualDecisions, Visibility

_ASKS_FOR_READERS = re.compile(r"resource(\.| has )readers\b")
_GUARD = """
forbid (principal, action in [Action::"read", Action::"write"], resource is Document) when { resource has readers };
"""
"""What counts besides the rules where none of them asks for readers: then nobody sees to them (decision 59)."""
MOST_GRANT_BYTES = 16 * 1024


@dataclass(frozen=True)
class Difference:
    """A label that not all decide alike."""

    ask: Ask
    label: Label
    words: dict[str, bool]

    def __str__(self) -> str:
        said = ", ".join(f"{who}: {'allow' if word else 'withhold'}" for who, word in self.words.items())
        return f"{self.ask}\n  {self.label.to_json()}\n  {said}"


class OneKey:
    """The public half of the key that signs."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = OKPKey.import_key(key.public_key())
        self._key_id = thumbprint(key)

    async def find(self, key_id: str) -> PublicKey | None:
        return self._key if key_id == self._key_id else None


_SIGNING_KEY = Ed25519PrivateKey.generate()
_SIGNER = GrantSigner(_SIGNING_KEY, thumbprint(_SIGNING_KEY))


async def differences(case: Case) -> list[Difference]:
    """The labels that not all decide alike, over all who ask.

    Raises:
        ConfigurationError: if the policy is not accepted.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = case.write(Path(temporary) / "policy")
        policy = load_snapshot(folder)
        rules = "\n".join(path.read_text() for path in sorted(folder.glob("*.cedar")))
        cedar = FullCedar(rules, (folder / "schema.cedarschema").read_text(), case.labels)
    decisions, table = ResidualDecisions(), LabelTable(case.labels)
    verifier = GrantVerifier(OneKey(_SIGNING_KEY))
    found = []
    for ask in case.asks:
        caller = ask.caller(policy.roles, policy.tenants)
        target = policy.tenants.get(ask.target, Tenant(ask.target, frozenset()))
        words = {"cedar": cedar.decide(caller, target, Action(ask.action))}
        verdicts = policy.engine.decide_rows(caller, target, Action(ask.action), case.labels)
        words["check"] = [verdict.allowed for verdict in verdicts]
        signed = _SIGNER.sign(_grant(policy, ask, caller, target))
        assert len(signed) <= MOST_GRANT_BYTES, f"a grant of {len(signed)} bytes"
        visibility = Visibility(decisions, await verifier.verify(signed))
        mask = await visibility.in_table(table)
        words["mask"] = [bool(mask[table.add(label)]) for label in case.labels]
        rows = await visibility.of(case.labels)
        words["rows"] = [label in rows for label in case.labels]
        for number, label in enumerate(case.labels):
            said = {who: word[number] for who, word in words.items()}
            if len(set(said.values())) > 1:
                found.append(Difference(ask, label, said))
    return found


class FullCedar:
    """Cedar alone: all rules, all entities, the schema for rows; none of our own code but what callers are called."""

    def __init__(self, rules: str, schema: str, labels: Sequence[Label]) -> None:
        self._policies = cedarpy.PolicySet.from_str(rules if _ASKS_FOR_READERS.search(rules) else rules + _GUARD)
        self._schema = cedarpy.Schema.from_str(schema)
        self._rows = [
            {"uid": {"type": "Document", "id": str(number)}, "attrs": rule_attributes(label), "parents": []}
            for number, label in enumerate(labels)
        ]
        self._fit = [self._is_fit(row) for row in self._rows]

    def decide(self, caller: Caller, target: Tenant, action: Action) -> list[bool]:
        """Whether each label is allowed; a rule that fails, and a label that fits no schema, refuse."""
        fit = [row for row, is_fit in zip(self._rows, self._fit, strict=True) if is_fit]
        entities = cedarpy.Entities.from_json_str(json.dumps([*_entities(caller, target), *fit]), self._schema)
        context: dict[str, Any] = {"target": {"__entity": {"type": "Tenant", "id": target.tenant_id}}}
        if caller.today is not None:
            context["today"] = caller.today
        request = {
            "principal": caller_uid(caller),
            "action": f'Action::"{action.value}"',
            "context": json.dumps(context),
        }
        results = iter(
            cedarpy.is_authorized_batch([{**request, "resource": row["uid"]} for row in fit], self._policies, entities)
        )
        return [is_fit and _is_allowed(next(results)) for is_fit in self._fit]

    def _is_fit(self, row: dict[str, Any]) -> bool:
        try:
            cedarpy.Entities.from_json_str(json.dumps([row]), self._schema)
        except ValueError:
            return False
        return True


def _is_allowed(result: cedarpy.AuthzResult) -> bool:
    return result.allowed and not result.diagnostics.errors


def _entities(caller: Caller, target: Tenant) -> list[dict[str, Any]]:
    """The caller, and what is around them, written down once more."""
    role, tenant = caller.role, caller.tenant
    of_caller: dict[str, Any] = {
        "subject": caller.subject,
        "tenant": {"__entity": {"type": "Tenant", "id": tenant.tenant_id}},
        "role": {"__entity": {"type": "Role", "id": role.name}},
        "clearance": int(caller.clearance),
    }
    for name in ("groups", "reader_names"):
        if hasattr(caller, name):
            of_caller[name] = list(getattr(caller, name))
    of_caller |= dict(getattr(caller, "attributes", ()))
    of_role = {
        "operations": [{"__entity": {"type": "Action", "id": action.value}} for action in role.operations],
        "max_clearance": int(role.max_clearance),
        "reads_across_tenants": role.reads_across_tenants,
        "ignores_topic_scope": role.ignores_topic_scope,
        "ignores_clearance": role.ignores_clearance,
        "ignores_readers": role.ignores_readers,
    }
    around = {each.tenant_id: each for each in (target, tenant)}
    return [
        {"uid": caller_uid(caller), "attrs": of_caller, "parents": []},
        {"uid": {"type": "Role", "id": role.name}, "attrs": of_role, "parents": []},
        *(
            {
                "uid": {"type": "Tenant", "id": each.tenant_id},
                "attrs": {"tenant_id": each.tenant_id, "topics": sorted(each.topics)},
                "parents": [],
            }
            for each in around.values()
        ),
    ]


def _grant(policy: PolicySnapshot, ask: Ask, caller: Caller, target: Tenant) -> Grant:
    residual = policy.engine.plan(caller, target, Action(ask.action))
    return Grant(
        subject=ask.subject,
        caller_tenant_id=ask.tenant,
        role=ask.role,
        tenant_id=target.tenant_id,
        action=Action(ask.action),
        residual=residual,
        may_configure=False,
        policy_version=policy.version,
        expires_at=time.time() + 3_600,
        sets=policy.engine.sets_of(caller, residual),
        label_schema=policy.engine.checked.label_schema,
    )
