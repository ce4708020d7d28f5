"""`vecsec policy explain`: why a policy decides as it does, for any caller and without any service."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import AccessDenied, UnknownTenant
from vecsec_chassis.domain.labels import Label, Sensitivity, canonical_attributes
from vecsec_chassis.domain.readers import READERS
from vecsec_cli.commands.explain import explanation_fields, print_explanation
from vecsec_cli.options import AttributesOption, JsonOption, ReadersOption, key_value_pairs, split_words
from vecsec_cli.terminal import output
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_cli.terminal.text import plain
from vecsec_client import (
    Change,
    DecidingValue,
    DeterminingRule,
    Explanation,
    NamedReader,
    PossibleReaders,
    ReadingRole,
)
from vecsec_client import Sensitivity as ClientSensitivity
from vecsec_policy.audit.reading import RecordedDecision
from vecsec_policy.in_force.evaluation import TenantAccess, decide_rows
from vecsec_policy.in_force.snapshot import PolicySnapshot
from vecsec_policy.use_cases import possible_readers as readers_found
from vecsec_policy.use_cases.explain_access import explained
from vecsec_workbench.audit.records import AuditLogOption, recorded_decisions
from vecsec_workbench.policy.decisions import AccessRequest, enter
from vecsec_workbench.policy.folder import PACKAGED, PolicyOption, load


def explain(
    *,
    policy: PolicyOption = PACKAGED,
    incident: Annotated[str, typer.Option(help="Explain what the audit log has under this incident id.")] = "",
    audit_log: AuditLogOption = None,
    tenant: Annotated[str, typer.Option(help="The tenant that is asked for.")] = "",
    action: Annotated[Action, typer.Option(help="What would be done.")] = Action.READ,
    role: Annotated[str, typer.Option(help="The caller's role.")] = "",
    clearance: Annotated[str, typer.Option(help="What the caller's token claims.")] = Sensitivity.SECRET.name,
    caller_tenant: Annotated[str, typer.Option(help="The caller's own tenant. Default: the one asked for.")] = "",
    subject: Annotated[str, typer.Option(help="The caller's subject.")] = "somebody",
    sensitivity: Annotated[str, typer.Option(help="The row's sensitivity.")] = "",
    topics: Annotated[list[str] | None, typer.Option(help="The row's topics, with commas between them.")] = None,
    attribute: AttributesOption = None,
    reader: ReadersOption = None,
    group: Annotated[list[str] | None, typer.Option(help="A group of the caller's; may be repeated.")] = None,
    caller_attribute: Annotated[
        list[str] | None, typer.Option(help="What else the token says of the caller, as key=value; may be repeated.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say why a policy allows or refuses something: the rules and values that decide, and the smallest change that
    would allow it. Any caller can be asked about (--role, --clearance, ...), or an incident of the audit log.

    `vecsec explain` asks the running services instead, as the caller whose token it has.
    """
    snapshot = load(policy)
    labels: Sequence[Label | None]
    if incident:
        decision = _recorded(incident, audit_log or [], snapshot)
        request, labels = AccessRequest.of(decision), _labels_to_explain(decision)
    else:
        if not tenant or not role:
            raise CommandFailure("say who wants what: --tenant and --role, or --incident")
        identity = Identity(
            subject,
            caller_tenant or tenant,
            role,
            _level(clearance, "--clearance"),
            "",
            0.0,
            tuple(sorted(set(group or ()))),
            tuple(sorted(_attributes(caller_attribute or [], "--caller-attribute").items())),
        )
        readers = {READERS: frozenset(reader)} if reader else {}
        attributes = canonical_attributes({**_attributes(attribute or [], "--attribute"), **readers})
        level = _level(sensitivity, "--sensitivity") if sensitivity else None
        labels = [Label(tenant, level, frozenset(split_words(topics or [])), attributes)]
        request = AccessRequest(identity, tenant, action, time.time())
    try:
        access = enter(snapshot, request)
    except (AccessDenied, UnknownTenant) as refusal:
        raise CommandFailure(refusal.message) from refusal
    explanations = [(label, _explain(access, label, incident)) for label in labels]
    if json:
        shapes = [{**_about(request, label), **explanation_fields(each)} for label, each in explanations]
        output.print_json({"explanations": shapes})
        return
    for label, each in explanations:
        output.say(plain(request.in_words(label), "bold"))
        print_explanation(each)
        output.say()


def _explain(access: TenantAccess, label: Label | None, incident: str) -> Explanation:
    verdict = access.entry if label is None else decide_rows(access, [label])[0]
    found = asyncio.run(explained(access, label, verdict, incident, has_policy=True))
    remedies = found.remedies
    return Explanation(
        allowed=found.allowed,
        incident_id=found.incident_id,
        policy_version=found.policy_version,
        determining_rules=tuple(
            DeterminingRule(rule_id=rule.rule_id, description=rule.description, text=rule.text) for rule in found.rules
        ),
        deciding_values=tuple(DecidingValue(attribute=each.attribute, value=each.value) for each in found.values),
        remedies=tuple(
            tuple(Change(attribute=each.subject, before=each.before, after=each.after) for each in changes)
            for changes in (remedies.found if remedies else ())
        ),
        tried_changes=remedies.tried if remedies else 0,
        possible_readers=_possible_readers(found.readers) if found.readers else None,
    )


def _possible_readers(found: readers_found.PossibleReaders) -> PossibleReaders:
    return PossibleReaders(
        roles=tuple(
            ReadingRole(role=each.role, least_clearance=ClientSensitivity[each.least_clearance.name])
            for each in found.roles
        ),
        is_limited=found.named is not None,
        named_readers=tuple(
            NamedReader(name=each.name, people=tuple(each.people), people_count=each.people_count)
            for each in found.named or ()
        ),
    )


def _recorded(incident: str, logs: list[Path], policy: PolicySnapshot) -> RecordedDecision:
    if not logs:
        raise CommandFailure("say where the incident is recorded: --audit-log FILE")
    decisions = (each for each in recorded_decisions(logs) if isinstance(each, RecordedDecision))
    found = next((each for each in decisions if each.incident_id == incident), None)
    if found is None:
        raise CommandFailure(f"the audit log has no incident {incident!r}", exit_code=ExitCode.NOT_FOUND)
    if found.policy_version != policy.version:
        output.note(
            f"decided by policy {found.policy_version[:12]}, explained by policy {policy.version[:12]}: name the "
            "folder of that version with --policy for what was decided then"
        )
    if found.rows_left_out:
        output.note(f"{found.rows_left_out:,} rows of it are not explained: their labels were too large for the log")
    return found


def _labels_to_explain(decision: RecordedDecision) -> Sequence[Label | None]:
    """Each label that was withheld; if none was, every label or, without rows, None: about entering the tenant."""
    withheld = [rows.label for rows in decision.rows if not rows.allowed]
    nothing: list[Label | None] = [] if decision.rows_left_out else [None]
    return withheld or [rows.label for rows in decision.rows] or nothing


def _about(request: AccessRequest, label: Label | None) -> dict[str, object]:
    return {
        "subject": request.identity.subject,
        "caller_tenant_id": request.identity.tenant_id,
        "role": request.identity.role,
        "claimed_clearance": request.identity.clearance.name,
        "tenant_id": request.tenant_id,
        "action": request.action.value,
        "label": None if label is None else label.to_json(),
    }


def _level(name: str, option: str) -> Sensitivity:
    if name.upper() not in Sensitivity.__members__:
        raise CommandFailure(f"{option} must be one of {', '.join(Sensitivity.__members__)}, not {name!r}")
    return Sensitivity[name.upper()]


def _attributes(options: list[str], option: str) -> dict[str, str | int | bool]:
    pairs: dict[str, str | int | bool] = {}
    for name, value in key_value_pairs(options, option).items():
        if isinstance(value, float):
            raise CommandFailure(f"{option} {name}: an attribute cannot be a fraction")
        pairs[name] = value
    return pairs
