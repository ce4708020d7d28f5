"""`vecsec explain`: may the caller touch a row with this label, and why."""

from typing import Annotated

import typer

from vecsec_cli.gateway_session import GatewaySession, with_gateway
from vecsec_cli.options import AttributesOption, ReadersOption, TenantOption, key_value_pairs, split_words
from vecsec_cli.terminal import output
from vecsec_cli.terminal.json_shapes import fields_of
from vecsec_cli.terminal.text import plain
from vecsec_client import Action, AttributeValue, Explanation, Sensitivity


@with_gateway
def explain(
    session: GatewaySession,
    *,
    tenant: TenantOption,
    sensitivity: Annotated[Sensitivity, typer.Option(case_sensitive=False, help="The row's sensitivity.")],
    topics: Annotated[list[str], typer.Option(help="The row's topics, with commas between them.")],
    action: Annotated[Action, typer.Option(help="What would be done with the row.")] = Action.READ,
    attribute: AttributesOption = None,
    reader: ReadersOption = None,
) -> None:
    """Say whether the caller may touch a row with this label and, to those who may configure, which rules decide it.

    The exit code says whether the question was answered, not whether the answer is yes.
    """
    attributes: dict[str, AttributeValue] = dict(key_value_pairs(attribute or (), "--attribute"))
    explanation = session.client.explain_access(
        tenant=tenant,
        action=action,
        sensitivity=sensitivity.value,
        topics=split_words(topics),
        attributes=attributes,
        readers=reader or None,
    )
    if session.json:
        output.print_json(explanation_fields(explanation))
    else:
        print_explanation(explanation)


def explanation_fields(explanation: Explanation) -> dict[str, object]:
    """An explanation as `--json` prints it."""
    values = {each.attribute: each.value for each in explanation.deciding_values}
    return {**fields_of(explanation), "deciding_values": values}


def print_explanation(explanation: Explanation) -> None:
    """Show an explanation to people."""
    output.say(plain("allowed", "bold green") if explanation.allowed else plain("withheld", "bold red"))
    for rule in explanation.determining_rules:
        output.say()
        output.say(plain(rule.rule_id, "bold") + plain(f"  {rule.description}"))
        output.say(plain(rule.text, "dim"))
    if explanation.deciding_values or explanation.determining_rules:
        output.say()
        if not explanation.determining_rules:
            output.say("no rule allows it; those that could look at:")
        for value in explanation.deciding_values:
            output.say(plain(f"{value.attribute} = ", "dim") + plain(value.value))
        _print_remedies(explanation)
        _print_possible_readers(explanation)
    else:
        output.say(plain("which rules decide is told to roles that may configure"))
    incident = f"incident {explanation.incident_id}, " if explanation.incident_id else ""
    output.say(plain(f"{incident}policy {explanation.policy_version[:12]}", "dim"))


def _print_possible_readers(explanation: Explanation) -> None:
    readers = explanation.possible_readers
    if readers is None:
        return
    output.say()
    if not readers.roles:
        output.say(plain("nobody of its tenant could read it", "bold"))
        return
    whom = "of its readers" if readers.is_limited else "of its tenant"
    output.say(plain(f"who {whom} could read it", "bold"))
    for each in readers.roles:
        output.say(plain(f"  role {each.role}, cleared for {each.least_clearance or 'a level unknown here'} or more"))
    if not readers.is_limited:
        return
    output.say(plain("its readers", "bold"))
    for reader in readers.named_readers:
        more = reader.people_count - len(reader.people)
        people = ", ".join(reader.people) + (f" and {more:,} more" if more else "")
        output.say(plain(f"  {reader.name}") + plain(f": {people}" if people else "", "dim"))


def _print_remedies(explanation: Explanation) -> None:
    if explanation.allowed:
        return
    output.say()
    if not explanation.remedies:
        output.say(f"neither one change nor two together would allow it; {explanation.tried_changes:,} were tried")
        return
    output.say(plain("it would be allowed with", "bold"))
    for remedy in explanation.remedies:
        changes = (f"{each.attribute}: {each.before} → {each.after}" for each in remedy)
        output.say(plain("  " + "  and  ".join(changes)))
