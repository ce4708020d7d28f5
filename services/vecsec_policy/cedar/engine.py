"""Compiles checked rules, decides, and plans by partial evaluation.

An engine is immutable and decides from its arguments alone. A rule that fails while it is evaluated makes the answer a
refusal: Cedar itself would skip the rule, and skipping a `forbid` lets through.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeAlias

import cedarpy
from cachetools import LRUCache

from vecsec_chassis.domain.access import Action, AttributeValue
from vecsec_chassis.domain.caller_sets import CallerSets
from vecsec_chassis.domain.labels import Label
from vecsec_chassis.telemetry.metrics import CacheCounter, CacheUse
from vecsec_policy.cedar import entities as cedar_entities
from vecsec_policy.cedar import residual as residual_json
from vecsec_policy.cedar.caller_attributes import GROUPS, READER_NAMES, CallerAttributes
from vecsec_policy.cedar.checking import SOMEBODY, CheckedRules, check_rules
from vecsec_policy.cedar.open_sets import sets_named
from vecsec_policy.cedar.rule_reading import LABEL_NOT_IN_SCHEMA, RULE_FAILED
from vecsec_policy.cedar.rules import Verdict, gravest
from vecsec_policy.cedar.set_reduction import SetReduction
from vecsec_policy.folder.policy_source import Diagnostics, PolicySource
from vecsec_policy.folder.principals import Caller, Role, Tenant

_REMEMBERED_SURROUNDINGS = 1_000
_REMEMBERED_RESIDUALS = 2_000
_ANYBODY = "anybody"
_RULES_OF_ROWS_AT_ONCE = 2_000
"""So many rules are looked at in one go when rows are decided, 1.6 µs each for a row."""
_MOST_ROWS_AT_ONCE = 50
_NOT_IN_SCHEMA = Verdict(allowed=False, rule_ids=(LABEL_NOT_IN_SCHEMA,))

PlanKey: TypeAlias = tuple[Caller, Tenant, Action]
"""What a plan depends on; callers that no rule tells apart go by one name."""


class CedarEngine:
    """The compiled rules of one policy version."""

    def __init__(self, checked: CheckedRules, plans: Mapping[PlanKey, str] = MappingProxyType({})) -> None:
        """Compile, about 0.2 ms a rule, during which other threads run. `plans` are remembered: by the same rules,
        made elsewhere.

        Raises:
            ValueError: if the rules were not checked.
        """
        self.checked = checked
        self._schema = cedarpy.Schema.from_str(checked.schema_text, release_gil=True)
        self._about_tenants = _compiled(checked.about_tenants)
        self._about_rows = _compiled(checked.about_rows)
        in_slices = checked.about_rows_in_slices
        self._slices = [self._about_rows] if in_slices == (checked.about_rows,) else list(map(_compiled, in_slices))
        self.rules = MappingProxyType(checked.rules)
        """The rules by their ids."""
        self.depends_on_day = checked.depend_on_day
        """Whether some rule may depend on the day."""
        self.caller_attributes = CallerAttributes(self._accepts_caller)
        """What the schema says of callers."""
        closed = checked.attributes_planned | checked.attributes_of_entry
        open_sets = self.caller_attributes.sets & checked.attributes_mentioned - closed
        self._reduction = SetReduction(open_sets, checked.attributes_mentioned, checked.reducible)
        self.rows_at_once = max(1, min(_MOST_ROWS_AT_ONCE, _RULES_OF_ROWS_AT_ONCE // max(1, len(checked.rules))))
        """Of how many rows the decision takes not much longer than a request may wait for another."""
        self._residuals: LRUCache[PlanKey, str] = LRUCache(_REMEMBERED_RESIDUALS)
        self._residuals.update(plans)
        self._places: LRUCache[tuple[Role, Tenant, Tenant], cedarpy.Entities] = LRUCache(_REMEMBERED_SURROUNDINGS)
        self._surroundings: LRUCache[tuple[Caller, Tenant], cedarpy.Entities] = LRUCache(_REMEMBERED_SURROUNDINGS)
        self._residual_lookups = CacheCounter()
        self._place_lookups = CacheCounter()
        self._surroundings_lookups = CacheCounter()

    @classmethod
    def check(cls, source: PolicySource, diagnostics: Diagnostics) -> "CedarEngine | None":
        """Parse and check everything and note what is wrong; an engine only if nothing is, here or in `diagnostics`."""
        checked = check_rules(source, diagnostics)
        return None if checked is None else cls(checked)

    @property
    def lookups(self) -> Mapping[str, CacheUse]:
        """How what this engine remembers is used, by name."""
        return {
            "residuals": self._residual_lookups,
            "places": self._place_lookups,
            "surroundings": self._surroundings_lookups,
        }

    def decide_entry(self, caller: Caller, target: Tenant, actions: Sequence[Action]) -> list[Verdict]:
        """Whether the caller may enter a tenant at all: one verdict an action, in order."""
        entities = self._shared_entities_of(caller, target)
        request = {**_request(caller, target), "resource": cedar_entities.tenant_uid(target)}
        requests = [{**request, "action": cedar_entities.action_uid(action)} for action in actions]
        return self._decide(requests, self._about_tenants, entities)

    def decide_rows(self, caller: Caller, target: Tenant, action: Action, labels: Sequence[Label]) -> list[Verdict]:
        """Whether the caller may touch rows with these labels: one verdict a label, in order."""
        # A decision cannot depend on what no rule asks for: labels that differ in nothing else are decided once.
        asked = [self._reduction.label(label, caller) if self.accepts(label) else None for label in labels]
        different = list(dict.fromkeys(label for label in asked if label is not None))
        rows = [cedar_entities.document_entity(number, label) for number, label in enumerate(different)]
        around, caller_row = self._entities_around(caller, target, different)
        entities = around.with_added_json_str(json.dumps([*caller_row, *rows]), self._schema)
        request = {**_request(caller, target), "action": cedar_entities.action_uid(action)}
        decided = self._decide([{**request, "resource": row["uid"]} for row in rows], self._about_rows, entities)
        verdicts: dict[Label | None, Verdict] = dict(zip(different, decided, strict=True))
        return [verdicts.get(each, _NOT_IN_SCHEMA) for each in asked]

    def accepts(self, label: Label) -> bool:
        """Whether a label fits the schema's Document; one that does not is for nobody."""
        return self.checked.label_schema.fits(label)

    def plan(self, caller: Caller, target: Tenant, action: Action) -> str:
        """The rules specialised to this caller, target and action: a Cedar policy set in Cedar's JSON format whose only
        variable is the row (`{"Var": "resource"}`). Deciding it on a label gives what `decide_rows` gives, if whoever
        decides it takes a failing rule as a refusal. Where no rule about rows asks who the caller is, callers who are
        alike in everything else share it."""
        *_, residual = self.plan_in_steps(caller, target, action)
        assert residual is not None, "the last step is the plan"
        return residual

    def plan_in_steps(self, caller: Caller, target: Tenant, action: Action) -> Iterator[str | None]:
        """`plan` in steps of at most 3 ms, for whoever has others to serve between them: None, and at last the plan."""
        key = self._plan_key(caller, target, action)
        residual = self._residuals.get(key)
        self._residual_lookups.count(found=residual is not None)
        if residual is None:
            policies: dict[str, Any] = {}
            failed = False
            for rules in self._slices:
                some, some_failed = self._planned(key, rules)
                policies |= some
                failed |= some_failed
                yield None
            failure = RULE_FAILED if failed else None
            residual = self._residuals[key] = residual_json.policy_set_json(policies, failure_rule_id=failure)
        yield residual

    def cached_plan(self, caller: Caller, target: Tenant, action: Action) -> str | None:
        """The plan, if it was made before; who makes it else looks for it once more."""
        residual = self._residuals.get(self._plan_key(caller, target, action))
        if residual is not None:
            self._residual_lookups.count(found=True)
        return residual

    @property
    def plans(self) -> dict[PlanKey, str]:
        """The plans that are remembered."""
        return dict(self._residuals)

    def sets_of(self, caller: Caller, residual: str) -> CallerSets:
        """The caller's sets that a plan of theirs asks for."""
        values = {**dict(caller.attributes), GROUPS: caller.groups, READER_NAMES: tuple(caller.reader_names)}
        asked_for = {name: values.get(name) for name in sets_named(residual)}
        return CallerSets.of({name: value for name, value in asked_for.items() if isinstance(value, tuple)})

    def as_planned(self, caller: Caller) -> Caller:
        """The caller without what no plan depends on: who are then alike have the same plans."""
        planned = self.checked.attributes_planned
        return replace(
            caller,
            subject=caller.subject if self.checked.rows_depend_on_subject or READER_NAMES in planned else _ANYBODY,
            groups=caller.groups if planned & {GROUPS, READER_NAMES} else (),
            attributes=tuple(pair for pair in caller.attributes if pair[0] in planned),
        )

    def _plan_key(self, caller: Caller, target: Tenant, action: Action) -> PlanKey:
        return (self.as_planned(caller), target, action)

    def _planned(self, key: PlanKey, rules: cedarpy.PolicySet) -> tuple[dict[str, Any], bool]:
        """What is left of some rules, and whether one of them failed."""
        caller, target, action = key
        context = cedar_entities.context(caller, target)
        principal, action_uid = cedar_entities.caller_uid(caller), cedar_entities.action_uid(action)
        partial = cedarpy.is_authorized_partial(
            {
                "principal": cedar_entities.in_cedar(principal),
                "action": cedar_entities.in_cedar(action_uid),
                "resource": None,  # unknown: that is what makes it partial
                "context": context,
            },
            rules,
            self._shared_entities_of(caller, target),
        )
        known = residual_json.KnownRequest(
            resource_type=cedar_entities.DOCUMENT_TYPE,
            variables={
                "principal": {"Value": {"__entity": principal}},
                "action": {"Value": {"__entity": action_uid}},
                "context": {"Value": context},
            },
            absent={name: _literal(name) for name in partial.diagnostics.unknown_entities},
        )
        return residual_json.policies(partial.residuals, known), bool(partial.diagnostics.errors)

    def _entities_around(
        self, caller: Caller, target: Tenant, labels: Sequence[Label]
    ) -> tuple[cedarpy.Entities, Sequence[cedar_entities.EntityJson]]:
        """What decisions on these labels look at besides the rows, and what is yet to be added of it."""
        sets = self._reduction.sets(caller, labels)
        if not any(sets.values()):
            return self._shared_entities_of(caller, target), ()
        further = {**self._further_attributes(caller), **sets}
        return self._entities_of(caller.role, caller.tenant, target), [cedar_entities.caller_entity(caller, further)]

    def _shared_entities_of(self, caller: Caller, target: Tenant) -> cedarpy.Entities:
        """Remembered, for entering and planning look at the same entities: 0.2 ms."""
        entities = self._surroundings.get((caller, target))
        self._surroundings_lookups.count(found=entities is not None)
        if entities is None:
            # A third of it for a caller whose role and tenants were read before.
            around = self._entities_of(caller.role, caller.tenant, target)
            added = json.dumps([cedar_entities.caller_entity(caller, self._further_attributes(caller))])
            entities = self._surroundings[caller, target] = around.with_added_json_str(added, self._schema)
        return entities

    def _entities_of(self, role: Role, tenant: Tenant, target: Tenant) -> cedarpy.Entities:
        """What callers of one role and tenant share."""
        places = (role, tenant, target)
        around = self._places.get(places)
        self._place_lookups.count(found=around is not None)
        if around is None:
            around = self._places[places] = self._entities(cedar_entities.role_and_tenants(*places))
        return around

    def _further_attributes(self, caller: Caller) -> dict[str, AttributeValue]:
        """What the schema declares of callers beside subject, tenant, role and clearance; sets that plans leave open,
        and those that no rule asks for, are empty."""
        attributes = dict(caller.attributes)
        closed = self.checked.attributes_planned | self.checked.attributes_of_entry
        for name in self.caller_attributes.sets:
            members = caller.groups if name == GROUPS else caller.reader_names
            attributes[name] = tuple(members) if name in closed else ()
        return attributes

    def _accepts_caller(self, attributes: Mapping[str, AttributeValue]) -> bool:
        try:
            self._entities([cedar_entities.caller_entity(SOMEBODY, attributes)])
        except ValueError:
            return False
        return True

    def _entities(self, entities: list[cedar_entities.EntityJson]) -> cedarpy.Entities:
        """Entities checked against the schema, which also adds the actions."""
        return cedarpy.Entities.from_json_str(json.dumps(entities), self._schema)

    def _decide(
        self, requests: list[dict[str, Any]], policies: cedarpy.PolicySet, entities: cedarpy.Entities
    ) -> list[Verdict]:
        return [self._verdict(result) for result in cedarpy.is_authorized_batch(requests, policies, entities)]

    def _verdict(self, result: cedarpy.AuthzResult) -> Verdict:
        failed = bool(result.diagnostics.errors)
        rule_ids = sorted([*result.diagnostics.reasons, RULE_FAILED] if failed else result.diagnostics.reasons)
        if result.allowed and not failed:
            return Verdict(allowed=True, rule_ids=tuple(rule_ids))
        violation = gravest(self.rules[rule_id].violation for rule_id in rule_ids if rule_id in self.rules)
        return Verdict(allowed=False, rule_ids=tuple(rule_ids), violation=violation)


def _request(caller: Caller, target: Tenant) -> dict[str, Any]:
    return {
        "principal": cedar_entities.caller_uid(caller),
        "context": json.dumps(cedar_entities.context(caller, target)),
    }


def _compiled(policy_set: str) -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_json_str(policy_set, release_gil=True)


def _literal(entity: str) -> dict[str, Any]:
    """The entity with this name in Cedar's syntax, as an expression of Cedar's JSON format."""
    parsed = json.loads(cedarpy.policies_to_json_str(f"permit(principal == {entity}, action, resource);"))
    (policy,) = parsed["staticPolicies"].values()
    return {"Value": {"__entity": policy["principal"]["entity"]}}
