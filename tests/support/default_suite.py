"""The packaged policy's suite, written from a plain table of what each role may do: no Cedar, no engine, no file of it.

    python tests/support/default_suite.py     write services/vecsec_policy/default_policy/cases

Every role, claimed clearance, action, own and foreign tenant, sensitivity and kind of topics is in exactly one case.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CASES = Path(__file__).parents[2] / "services/vecsec_policy/default_policy/cases"
LEVELS = ["PUBLIC", "INTERNAL", "CONFIDENTIAL", "SECRET"]
ACTIONS = ["read", "write", "delete", "configure"]
TOPICS = {"in scope": ["rag", "rag marketing"], "out of scope": ["finance", "rag finance"], "none": [""]}


@dataclass(frozen=True)
class Rights:
    """What a role may do, by the book."""

    operations: list[str]
    highest: str
    across: list[str]
    any_topic: bool
    any_level: bool


TABLE = {
    #                   operations                 highest       in other tenants       any topic  any level
    "guest":     Rights(["read"],                  "PUBLIC",       [],                    False, False),
    "analyst":   Rights(["read"],                  "INTERNAL",     [],                    False, False),
    "superuser": Rights(["read", "write", "configure"], "CONFIDENTIAL", [],               True,  False),
    "admin":     Rights(ACTIONS,                   "SECRET",       [],                    True,  True),
}  # fmt: skip


def suite(role: str) -> str:
    """The suite of one role as YAML."""
    rights = TABLE[role]
    head = (
        f"# What the packaged policy says to the role {role}: each claimed clearance, action, own and foreign tenant,\n"
        "# sensitivity and kind of topics, each in exactly one case. Written by tests/support/default_suite.py from a\n"
        "# plain table of roles, so that neither the rules nor the engine have a say in what is expected of them.\n"
        f"description: {role} of tenant_a (topics retrieval, rag, langchain, marketing)\ncases:\n"
    )
    return head + "\n".join([*_entering(role, rights), *_rows(role, rights), *_half_tagged(role, rights)])


def _entering(role: str, rights: Rights) -> Iterator[str]:
    """Entering a tenant, and rows of tenants that may not be entered."""
    rows = _rows_text(LEVELS, [topics for kind in TOPICS.values() for topics in kind])
    for tenant, allowed in (("tenant_a", rights.operations), ("tenant_b", rights.across)):
        where = "their own tenant" if tenant == "tenant_a" else "a foreign tenant"
        if allowed:
            rule = "enter-foreign-tenant"
            own = "enter-own-tenant" if tenant == "tenant_a" else rule
            rules = [own, rule] if rights.across and tenant == "tenant_a" else [own]
            for actions, by in _entry_rules(allowed, rules, rights):
                yield _case(f"{role}s may {' and '.join(actions)} in {where}", role, LEVELS, actions, tenant, "", by)
        refused = [action for action in ACTIONS if action not in allowed]
        if refused:
            by = ["stay-in-own-tenant"] if tenant == "tenant_b" else []
            name = f"{role}s may not {' or '.join(refused)} in {where}"
            counted = "cross_tenant_violation" if by else "none"
            yield _case(name, role, LEVELS, refused, tenant, "", by, counted)
            yield _case(f"{name}, whatever the row", role, LEVELS, refused, tenant, rows, by, counted)


def _entry_rules(allowed: list[str], rules: list[str], rights: Rights) -> Iterator[tuple[list[str], list[str]]]:
    """In their own tenant, callers who may cross are let in by both rules for what they may do across."""
    if len(rules) == 1:
        yield allowed, rules
        return
    yield [action for action in allowed if action in rights.across], rules
    yield [action for action in allowed if action not in rights.across], rules[:1]


def _rows(role: str, rights: Rights) -> Iterator[str]:
    """Whole rows in tenants that may be entered."""
    for tenant, actions in (("tenant_a", rights.operations), ("tenant_b", rights.across)):
        if not actions:
            continue
        where = "" if tenant == "tenant_a" else " of a foreign tenant"
        for effective, claims in _clearances(rights):
            cleared = LEVELS if rights.any_level else LEVELS[: LEVELS.index(effective) + 1]
            above = [level for level in LEVELS if level not in cleared]
            for levels, is_cleared in ((cleared, True), (above, False)):
                for kind, topics in TOPICS.items() if levels else ():
                    by = [*([] if is_cleared else ["row-clearance"]), *_topic_rules(kind, rights)]
                    verb = "may not" if by else "may"
                    depth = "up to" if is_cleared else "above"
                    yield _case(
                        f"{role}s cleared for {effective} {verb} touch rows{where} {depth} that, topics {kind}",
                        role,
                        claims,
                        actions,
                        tenant,
                        _rows_text(levels, topics),
                        by or ["operations"],
                        _counted(by),
                    )


def _half_tagged(role: str, rights: Rights) -> Iterator[str]:
    """Rows without sensitivity, or of another tenant or none than was asked for."""
    everything = [topics for kind in ("in scope", "out of scope") for topics in TOPICS[kind]]
    for effective, claims in _clearances(rights):
        untagged = ["row-has-sensitivity", *([] if rights.any_level else ["row-clearance"])]
        by_kind = {"in scope": untagged, "out of scope": [*untagged, *_topic_rules("out of scope", rights)]}
        for kind, by in by_kind.items():
            rows = _rows_text(["NONE"], TOPICS[kind])
            name = f"{role}s cleared for {effective} may not touch rows without sensitivity, topics {kind}"
            yield _case(name, role, claims, rights.operations, "tenant_a", rows, by, "clearance_violation")
        strange = _rows_text(["PUBLIC"], everything if rights.any_topic else TOPICS["in scope"], ["tenant_b", ""])
        name = f"{role}s cleared for {effective} may not touch rows of another tenant, or of none, in their own"
        yield _case(
            name, role, claims, rights.operations, "tenant_a", strange, ["row-tenant"], "document_tenant_violation"
        )


def _clearances(rights: Rights) -> list[tuple[str, list[str]]]:
    """Each effective clearance and the claims that come to it."""
    highest = LEVELS.index(rights.highest)
    return [(LEVELS[at], LEVELS[at:] if at == highest else [LEVELS[at]]) for at in range(highest + 1)]


def _topic_rules(kind: str, rights: Rights) -> list[str]:
    if kind == "none":
        return ["row-has-topics", *([] if rights.any_topic else ["row-topics"])]
    return ["row-topics"] if kind == "out of scope" and not rights.any_topic else []


def _counted(rules: list[str]) -> str:
    """The gravest violation: a clearance before a topic."""
    if "row-clearance" in rules:
        return "clearance_violation"
    return "topic_violation" if rules else "none"


def _case(
    name: str,
    role: str,
    claims: list[str],
    actions: list[str],
    tenant: str,
    rows: str,
    rules: list[str],
    counted: str = "none",
) -> str:
    decision = (
        "ALLOW" if rules and rules[0] in {"operations", "enter-own-tenant", "enter-foreign-tenant"} else "WITHHOLD"
    )
    by = f"rules: [{', '.join(rules)}]" if rules else "no_rule: true"
    return (
        f"  - name: {name}\n"
        f"    callers: {{tenants: [tenant_a], roles: [{role}], clearances: [{', '.join(claims)}]}}\n"
        f"    actions: [{', '.join(actions)}]\n"
        f"    tenants: [{tenant}]\n"
        f"{rows}"
        f"    expect: {{decision: {decision}, {by}, violation: {counted}}}\n"
    )


def _rows_text(levels: list[str], topics: list[str], tenants: list[str] | None = None) -> str:
    texts = ", ".join(f'"{each}"' if not each or " " in each else each for each in topics)
    homes = f"tenants: [{', '.join(each or repr('') for each in tenants)}], " if tenants else ""
    return f"    rows: {{{homes}sensitivities: [{', '.join(levels)}], topics: [{texts}]}}\n"


if __name__ == "__main__":
    for each in TABLE:
        (CASES / f"{each}.yaml").write_text(suite(each))
    sys.stdout.write(f"wrote {len(TABLE)} suites\n")
