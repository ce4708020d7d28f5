"""Reads a policy folder's schema and rules and says what is wrong with them: the one door for texts to Cedar."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import cedarpy

from vecsec_chassis.domain.access import AttributeValue
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.label_schema import LabelSchema
from vecsec_chassis.domain.labels import AttributeValue as RowValue
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_chassis.domain.readers import READERS
from vecsec_policy.cedar import bounds as cedar_bounds
from vecsec_policy.cedar import entities as cedar_entities
from vecsec_policy.cedar.ast import attributes_mentioned, depends_on_subject
from vecsec_policy.cedar.caller_attributes import CallerAttributes
from vecsec_policy.cedar.open_sets import reducible_attributes, with_open_sets
from vecsec_policy.cedar.rule_reading import (
    READERS_WITHOUT_RULE,
    add_rule,
    check_names,
    in_slices,
    keep_readers_guarded,
    policies_about,
    read_rule,
    refuse_looking_into_names,
)
from vecsec_policy.cedar.rules import Rule
from vecsec_policy.cedar.schema_reading import read_label_schema
from vecsec_policy.folder.cedar_text import SourcedPolicy
from vecsec_policy.folder.policy_source import Diagnostics, PolicySource
from vecsec_policy.folder.principals import Caller, Role, Tenant

SOMEBODY = Caller(
    "anybody", Tenant("tenant", frozenset()), Role("role", frozenset(), Sensitivity.PUBLIC), Sensitivity.PUBLIC
)
"""By whom it is tried what the schema says of callers."""
_RULES_AT_ONCE = 25
"""Cedar holds the interpreter while it specialises rules: 55 µs each, and as much again to write down what is left."""


@dataclass(frozen=True, slots=True)
class CheckedRules:
    """Schema and rules of one policy version, parsed and checked. It can be sent to another process."""

    schema_text: str
    label_schema: LabelSchema
    """What rows may carry by it."""
    rules: dict[str, Rule]
    """By their ids."""
    about_tenants: str
    """Those that decide on entering a tenant: a policy set in Cedar's JSON format."""
    about_rows: str
    """Those that decide on rows."""
    about_rows_in_slices: tuple[str, ...]
    """The same as several sets, for planning, where each rule is looked at for itself: callers' sets left open."""
    attributes_mentioned: frozenset[str]
    """What these look at."""
    attributes_planned: frozenset[str]
    """What plans depend on: the same without sets that are left open."""
    reducible: dict[str, frozenset[str]]
    """See `open_sets.reducible_attributes`."""
    attributes_of_entry: frozenset[str]
    """What the rules about tenants look at."""
    rows_depend_on_subject: bool
    """Whether these may depend on who the caller is."""
    depend_on_day: bool
    """Whether any rule may depend on the day, by whatever expression it reaches the context."""


def check_rules(source: PolicySource, diagnostics: Diagnostics) -> CheckedRules | None:
    """Parse and check everything and note what is wrong; the rules only if nothing is, here or in `diagnostics`."""
    names_are_known = not diagnostics.found
    schema = label_schema = None
    with diagnostics:
        schema = _parse_schema(source)
        label_schema = read_label_schema(source, partial(_takes, schema))
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
            refuse_looking_into_names(sourced, policy)
            if names_are_known:
                check_names(sourced, policy, source.roles, source.tenants)
            if schema is not None and not all_are_valid:
                _validate(sourced, schema, diagnostics)
    if schema is None or label_schema is None or diagnostics.found:
        return None
    with diagnostics:
        _check_entities(source, schema)
        about_tenants = policies_about(cedar_entities.TENANT_TYPE, policies)
        about_rows = policies_about(cedar_entities.DOCUMENT_TYPE, policies)
        if READERS not in attributes_mentioned(about_rows):
            about_rows["staticPolicies"][READERS_WITHOUT_RULE] = keep_readers_guarded()
        asked_for = attributes_mentioned(about_rows)
        of_entry = attributes_mentioned(about_tenants)
        opened = {rule_id: with_open_sets(policy) for rule_id, policy in about_rows["staticPolicies"].items()}
        planned = {**about_rows, "staticPolicies": opened}
        return CheckedRules(
            source.schema_text,
            label_schema,
            rules,
            about_tenants=json.dumps(about_tenants),
            about_rows=json.dumps(about_rows),
            about_rows_in_slices=tuple(map(json.dumps, in_slices(planned, _RULES_AT_ONCE))),
            attributes_mentioned=asked_for,
            attributes_planned=attributes_mentioned(planned),
            reducible=reducible_attributes(opened),
            attributes_of_entry=of_entry,
            rows_depend_on_subject=depends_on_subject(about_rows),
            depend_on_day="today" in asked_for | of_entry,
        )
    return None


def _parse_schema(source: PolicySource) -> cedarpy.Schema:
    cedar_bounds.check_schema(str(source.schema_path), source.schema_text)
    try:
        return cedarpy.Schema.from_str(source.schema_text)
    except ValueError as error:
        raise ConfigurationError(f"{source.schema_path}: {_one_line(error)}") from error


def _takes(schema: cedarpy.Schema, name: str, value: RowValue) -> bool:
    """Whether a row may have this one attribute."""
    written = sorted(value) if isinstance(value, frozenset) else value
    row = {"uid": {"type": cedar_entities.DOCUMENT_TYPE, "id": "0"}, "attrs": {name: written}, "parents": []}
    try:
        cedarpy.Entities.from_json_str(json.dumps([row]), schema)
    except ValueError:
        return False
    return True


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

    def accepts(attributes: Mapping[str, AttributeValue]) -> bool:
        caller = json.dumps([cedar_entities.caller_entity(SOMEBODY, attributes)])
        try:
            cedarpy.Entities.from_json_str(caller, schema)
        except ValueError:
            return False
        return True

    sets = dict.fromkeys(CallerAttributes(accepts).sets, ())
    for role in source.roles.values():
        caller = Caller("schema-check", some_tenant, role, role.max_clearance)
        around = cedar_entities.role_and_tenants(role, some_tenant, some_tenant)
        entities = [cedar_entities.caller_entity(caller, sets), *around]
        try:
            cedarpy.Entities.from_json_str(json.dumps(entities), schema)
        except ValueError as error:
            raise ConfigurationError(
                f"{source.schema_path}: does not fit callers, roles and tenants as they are made: {_one_line(error)}; "
                "keep the packaged declarations of these three, and add only optional attributes (name?: Type), "
                "to Caller and Document"
            ) from error


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
