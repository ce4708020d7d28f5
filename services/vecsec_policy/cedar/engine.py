"""The one door to Cedar: compiles a policy folder, decides, and plans by partial evaluation.

An engine is immutable and decides from its arguments alone. A rule that fails while it is evaluated makes the answer a
refusal: Cedar itself would skip the rule, and skipping a `forbid` lets through.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import cedarpy
from cachetools import LRUCache

from vecsec_chassis.domain.access import Action
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.labels import Label
from vecsec_chassis.telemetry.metrics import CacheCounter, CacheUse
from vecsec_policy.cedar import bounds as cedar_bounds
from vecsec_policy.cedar import entities as cedar_entities
from vecsec_policy.cedar import residual as residual_json
from vecsec_policy.cedar.ast import attributes_mentioned, depends_on_subject
from vecsec_policy.cedar.label_shapes import LabelShapes
from vecsec_policy.cedar.rule_reading import (
    LABEL_NOT_IN_SCHEMA,
    RULE_FAILED,
    add_rule,
    check_names,
    in_slices,
    policies_about,
    read_rule,
)
from vecsec_policy.cedar.rules import Rule, Verdict, gravest
from vecsec_policy.folder.cedar_text import SourcedPolicy
from vecsec_policy.folder.policy_source import Diagnostics, PolicySource
from vecsec_policy.folder.principals import Caller, Role, Tenant

_REMEMBERED_SURROUNDINGS = 1_000
_REMEMBERED_RESIDUALS = 2_000
_ANYBODY = "anybody"
_RULES_AT_ONCE = 25
"""Cedar holds the interpreter while it specialises rules: 55 µs each, and as much again to write down what is left."""
_RULES_OF_ROWS_AT_ONCE = 2_000
"""So many rules are looked at in one go when rows are decided, 1.6 µs each for a row."""
_MOST_ROWS_AT_ONCE = 50
_NOT_IN_SCHEMA = Verdict(allowed=False, rule_ids=(LABEL_NOT_IN_SCHEMA,))

PlanKey: TypeAlias = tuple[Caller, Tenant, Action]
"""What a plan depends on; callers that no rule tells apart go by one name."""


@dataclass(frozen=True, slots=True)
class CheckedRules:
    """Schema and rules of one policy version, parsed and checked. It can be sent to another process."""

    schema_text: str
    rules: dict[str, Rule]
    """By their ids."""
    about_tenants: str
    """Those that decide on entering a tenant: a policy set in Cedar's JSON format."""
    about_rows: str
    """Those that decide on rows."""
    about_rows_in_slices: tuple[str, ...]
    """The same as several sets, for planning, where each rule is looked at for itself."""
    attributes_mentioned: frozenset[str]
    """What these look at."""
    rows_depend_on_subject: bool
    """Whether these may depend on who the caller is."""
    depend_on_day: bool
    """Whether any rule may depend on the day, by whatever expression it reaches the context."""


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
        self._slices = [_compiled(each) for each in in_slices] if len(in_slices) > 1 else [self._about_rows]
        self.rules = MappingProxyType(checked.rules)
        """The rules by their ids."""
        self.depends_on_day = checked.depend_on_day
        """Whether some rule may depend on the day."""
        self._shapes = LabelShapes(self.accepts)
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
        names_are_known = not diagnostics.found
        schema = None
        with diagnostics:
            schema = _parse_schema(source)
        parsed = [(sourced, _parsed(sourced)) for sourced in source.policies]
        rules: dict[str, Rule] = {}
        policies: dict[str, dict[str, Any]] = {}
        texts = "\n".join(sourced.text for sourced, policy in parsed if isinstance(policy, dict))
        # Asked of all policies at once it takes a third of the time, and usually they are.
        all_are_valid = schema is not None and cedarpy.validate_policies(texts, schema).validation_passed
        for sourced, policy in parsed:
            with diagnostics:
                if isinstance(policy, ConfigurationError):
                    raise policy
                rule = read_rule(sourced, policy)
                add_rule(rules, rule)
                policies[rule.rule_id] = policy
                if names_are_known:
                    check_names(sourced, policy, source.roles, source.tenants)
                if schema is not None and not all_are_valid:
                    _validate(sourced, schema, diagnostics)
        if schema is None or diagnostics.found:
            return None
        with diagnostics:
            _check_entities(source, schema)
            about_tenants = policies_about(cedar_entities.TENANT_TYPE, policies)
            about_rows = policies_about(cedar_entities.DOCUMENT_TYPE, policies)
            asked_for = attributes_mentioned(about_rows)
            return cls(
                CheckedRules(
                    source.schema_text,
                    rules,
                    about_tenants=json.dumps(about_tenants),
                    about_rows=json.dumps(about_rows),
                    about_rows_in_slices=tuple(map(json.dumps, in_slices(about_rows, _RULES_AT_ONCE))),
                    attributes_mentioned=asked_for,
                    rows_depend_on_subject=depends_on_subject(about_rows),
                    depend_on_day="today" in asked_for | attributes_mentioned(about_tenants),
                )
            )
        return None

    @property
    def lookups(self) -> Mapping[str, CacheUse]:
        """How what this engine remembers is used, by name."""
        return {
            "residuals": self._residual_lookups,
            "places": self._place_lookups,
            "surroundings": self._surroundings_lookups,
            "label_shapes": self._shapes.lookups,
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
        asked = [self._with_mentioned_attributes(label) if self._shapes.fits(label) else None for label in labels]
        firsts: dict[Label | None, Label] = {}
        for each, label in zip(asked, labels, strict=True):
            if each is not None:
                firsts.setdefault(each, label)
        rows = [cedar_entities.document_entity(number, label) for number, label in enumerate(firsts.values())]
        entities = self._shared_entities_of(caller, target).with_added_json_str(json.dumps(rows), self._schema)
        request = {**_request(caller, target), "action": cedar_entities.action_uid(action)}
        decided = self._decide([{**request, "resource": row["uid"]} for row in rows], self._about_rows, entities)
        verdicts: dict[Label | None, Verdict] = dict(zip(firsts, decided, strict=True))
        return [verdicts.get(each, _NOT_IN_SCHEMA) for each in asked]

    def accepts(self, label: Label) -> bool:
        """Whether a label fits the schema's Document; one that does not is for nobody."""
        try:
            self._entities([cedar_entities.document_entity(0, label)])
        except ValueError:
            return False
        return True

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

    def _plan_key(self, caller: Caller, target: Tenant, action: Action) -> PlanKey:
        return (caller if self.checked.rows_depend_on_subject else replace(caller, subject=_ANYBODY), target, action)

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

    def _with_mentioned_attributes(self, label: Label) -> Label:
        """The label without the attributes that no rule asks for."""
        attributes = tuple(pair for pair in label.attributes if pair[0] in self.checked.attributes_mentioned)
        if len(attributes) == len(label.attributes):
            return label
        return Label(label.tenant_id, label.sensitivity, label.topics, attributes)

    def _shared_entities_of(self, caller: Caller, target: Tenant) -> cedarpy.Entities:
        """Remembered, for entering and planning look at the same entities: 0.2 ms."""
        entities = self._surroundings.get((caller, target))
        self._surroundings_lookups.count(found=entities is not None)
        if entities is None:
            # A third of it for a caller whose role and tenants were read before.
            places = (caller.role, caller.tenant, target)
            around = self._places.get(places)
            self._place_lookups.count(found=around is not None)
            if around is None:
                around = self._places[places] = self._entities(cedar_entities.role_and_tenants(*places))
            added = json.dumps([cedar_entities.caller_entity(caller)])
            entities = self._surroundings[caller, target] = around.with_added_json_str(added, self._schema)
        return entities

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


def _parse_schema(source: PolicySource) -> cedarpy.Schema:
    cedar_bounds.check_schema(str(source.schema_path), source.schema_text)
    try:
        return cedarpy.Schema.from_str(source.schema_text)
    except ValueError as error:
        raise ConfigurationError(f"{source.schema_path}: {_one_line(error)}") from error


def _parsed(sourced: SourcedPolicy) -> dict[str, Any] | ConfigurationError:
    """A policy, or why it is none, to be told in its turn. What is a policy here can be given to Cedar's validator."""
    try:
        return _parse_policy(sourced)
    except ConfigurationError as complaint:
        return complaint


def _parse_policy(sourced: SourcedPolicy) -> dict[str, Any]:
    """The one door to Cedar for policies: no other of its parsers is given a text that did not come through here.

    Raises:
        ConfigurationError: if it is out of bounds, or not one policy.
    """
    cedar_bounds.check_policy(sourced.place, sourced.text)
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(sourced.text))
    except ValueError as error:
        raise ConfigurationError(f"{sourced.place}: in the policy that starts here: {_one_line(error)}") from error
    if parsed["templates"]:
        raise ConfigurationError(f"{sourced.place}: a template (?principal, ?resource) decides nothing; write it out")
    policies: list[dict[str, Any]] = list(parsed["staticPolicies"].values())
    if len(policies) != 1:
        raise ConfigurationError(f"{sourced.place}: expected one policy up to the semicolon, found {len(policies)}")
    cedar_bounds.check_parsed(sourced.place, policies[0])
    return policies[0]


def _validate(sourced: SourcedPolicy, schema: cedarpy.Schema, diagnostics: Diagnostics) -> None:
    for error in cedarpy.validate_policies(sourced.text, schema).errors:
        reason = _one_line(error.error).removeprefix("for policy `policy0`, ")
        diagnostics.found.append(f"{sourced.place}: against the schema: {reason}")


def _check_entities(source: PolicySource, schema: cedarpy.Schema) -> None:
    """The schema may be extended, but it must go on describing what callers, roles and tenants are made of."""
    some_tenant = next(iter(source.tenants.values()))
    for role in source.roles.values():
        caller = Caller("schema-check", some_tenant, role, role.max_clearance)
        around = cedar_entities.role_and_tenants(role, some_tenant, some_tenant)
        entities = [cedar_entities.caller_entity(caller), *around]
        try:
            cedarpy.Entities.from_json_str(json.dumps(entities), schema)
        except ValueError as error:
            raise ConfigurationError(
                f"{source.schema_path}: does not fit callers, roles and tenants as they are made: {_one_line(error)}; "
                "keep the packaged declarations of these three and add to Document only"
            ) from error


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
