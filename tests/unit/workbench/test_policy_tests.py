"""`vecsec policy test`: suites are read strictly, run, and told in words; the packaged suite is the plain table's."""

import itertools
from pathlib import Path

import pytest
from junitparser import JUnitXml
from support import default_suite
from support.cli_command import Command

from vecsec_policy.settings import PACKAGED_POLICY
from vecsec_workbench.policy.cases.files import read_suites
from vecsec_workbench.policy.cases.runs import _batches

CASE = """\
cases:
  - name: analysts read what is internal
    callers: {tenants: [tenant_a], roles: [analyst], clearances: [INTERNAL]}
    actions: [read]
    tenants: [tenant_a]
    rows: {sensitivities: [INTERNAL], topics: [rag]}
    expect: {decision: ALLOW, rules: [operations]}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    file = tmp_path / "suite.yaml"
    file.write_text(CASE)
    return file


def test_the_packaged_suite_is_what_the_plain_table_says_and_the_policy_passes_it(vecsec: Command) -> None:
    for role in default_suite.TABLE:
        assert (PACKAGED_POLICY / "cases" / f"{role}.yaml").read_text() == default_suite.suite(role)
    result = vecsec.json("policy", "test")
    assert (result["failed"], result["passed"]) == (0, len(result["cases"]))
    assert result["decisions"] > 3_000


def test_the_packaged_suite_has_every_combination_once() -> None:
    asked = [
        (each.identity.role, each.identity.clearance.name, each.tenant_id, each.action.value, label)
        for sourced in read_suites(PACKAGED_POLICY / "cases")
        for each, labels in _batches(sourced.case)
        for label in labels
        if label is None or not label.attributes  # those have a suite of their own
    ]
    assert len(set(asked)) == len(asked)
    whole = {
        (role, claim, tenant_id, action, label.sensitivity.name, " ".join(sorted(label.topics)))
        for role, claim, tenant_id, action, label in asked
        if label is not None and label.sensitivity is not None and label.tenant_id == tenant_id
    }
    topics = ["rag", "marketing rag", "finance", "finance rag", ""]
    tenants = ["tenant_a", "tenant_b"]
    everything = itertools.product(
        default_suite.TABLE, default_suite.LEVELS, tenants, default_suite.ACTIONS, default_suite.LEVELS, topics
    )
    assert whole == set(everything)
    entering = {(role, claim, tenant, action) for role, claim, tenant, action, label in asked if label is None}
    assert len(entering) == 4 * 4 * 2 * 4


def test_a_policy_that_says_otherwise_fails_with_what_was_expected_and_what_came(
    vecsec: Command, folder: Path, tmp_path: Path
) -> None:
    rules = folder / "access.cedar"
    rules.write_text(rules.read_text().replace("resource.sensitivity <= principal.clearance", "true"))
    junit = tmp_path / "results.xml"
    run = ("policy", "test", "--policy", str(folder), "--junit", str(junit))
    people = vecsec(*run, exit_code=1).stdout
    assert "FAILED  analysts cleared for PUBLIC may not touch rows above that, topics in scope" in people
    assert "- WITHHOLD by row-clearance counting clearance_violation" in people
    assert f"+ ALLOW by operations ({rules}:" in people
    failed = vecsec.json("policy", "test", "--policy", str(folder), exit_code=1)
    assert 0 < failed["failed"] < len(failed["cases"])
    written = JUnitXml.fromfile(str(junit))
    assert (written.tests, written.failures) == (len(failed["cases"]), failed["failed"])
    messages = [result.text for tests in written for case in tests for result in case.result]
    assert any("+ ALLOW by operations" in message for message in messages)


@pytest.mark.parametrize(
    ("was", "becomes", "complaint"),
    [
        ("    actions", "    action", "suite.yaml:4: PolicyTestCase has no field 'action'; known are actions, callers"),
        (
            "roles:",
            "role:",
            "suite.yaml:3: PolicyTestCallers has no field 'role'; known are attributes, clearances, groups, roles",
        ),
        ("decision:", "decison:", "suite.yaml:7: PolicyTestExpectation has no field 'decison'"),
        ("cases:", "casses:", "suite.yaml:1: PolicyTestSuite has no field 'casses'"),
        ("[read]", "[reed]", "suite.yaml:4: cases.actions: must be in list [read, write, delete, configure]"),
        ("[INTERNAL], topics", "[HIGH], topics", "suite.yaml:6: cases.rows.sensitivities: must be in list [PUBLIC"),
        ("[read]", "read", "suite.yaml:4: actions of PolicyTestCase must be a list"),
        ("topics: [rag]", "topics: [2024]", "suite.yaml:6: Failed to parse topics field: expected string"),
        ("    tenants: [tenant_a]\n", "    tenants: [Tenant]\n", "suite.yaml:5: cases.tenants: does not match regex"),
        ("    expect: {decision: ALLOW, rules: [operations]}\n", "", "suite.yaml:2: cases.expect: value is required"),
        ("rules: [operations]", "rules: [a], no_rule: true", "suite.yaml:7: cases.expect: either some rules decide or"),
        (CASE, "cases: []\n", "suite.yaml:1: cases: must contain at least 1 item(s)"),
        (CASE, "[1", "suite.yaml:1: not YAML"),
    ],
)
def test_mistakes_in_a_suite_are_named_with_their_line(
    vecsec: Command, suite: Path, was: str, becomes: str, complaint: str
) -> None:
    assert was in CASE
    suite.write_text(CASE.replace(was, becomes, 1))
    told = vecsec("policy", "test", str(suite), exit_code=2, COLUMNS="400").stderr
    assert complaint in told


def test_what_is_left_out_is_not_compared_and_no_rule_is(vecsec: Command, suite: Path) -> None:
    suite.write_text(CASE.replace(", rules: [operations]", ""))
    vecsec("policy", "test", str(suite))
    suite.write_text(CASE.replace("rules: [operations]", "no_rule: true"))
    assert "because no rule permits it" in vecsec("policy", "test", str(suite), exit_code=1).stdout
    suite.write_text(CASE.replace("rules: [operations]", "violation: topic_violation"))
    assert "+ ALLOW by operations" in vecsec("policy", "test", str(suite), exit_code=1).stdout


def test_rows_may_have_attributes(vecsec: Command, suite: Path, folder: Path) -> None:
    (folder / "own.cedar").write_text(
        '@id("own") forbid (principal, action, resource is Document) '
        "when { resource has owner && resource.owner != principal.subject };"
    )
    schema = folder / "schema.cedarschema"
    schema.write_text(
        schema.read_text().replace("region?: String,", "region?: String, year?: Long, tags?: Set<String>,")
    )
    attributes = "attributes: {owner: alice, year: 2024, tags: [a, b]}"
    suite.write_text(
        CASE.replace("topics: [rag]", f"topics: [rag], {attributes}").replace("rules: [operations]", "rules: [own]")
    )
    failed = vecsec.json("policy", "test", str(suite), "--policy", str(folder), exit_code=1)
    assert 'INTERNAL, topics rag, owner "alice"' in failed["cases"][0]["differences"][0]["asked"]
    assert "WITHHOLD by own" in failed["cases"][0]["differences"][0]["actual"]
    mine = suite.read_text().replace("clearances: [INTERNAL]", "clearances: [INTERNAL], subject: alice")
    suite.write_text(mine.replace("rules: [own]", "rules: [operations]"))
    vecsec("policy", "test", str(suite), "--policy", str(folder))


def test_a_case_about_a_role_that_is_not_there_fails(vecsec: Command, suite: Path) -> None:
    suite.write_text(CASE.replace("[analyst]", "[analyst, king]"))
    assert "no role 'king'" in vecsec("policy", "test", str(suite), exit_code=1).stdout


def test_a_folder_without_suites_is_a_mistake(vecsec: Command, tmp_path: Path) -> None:
    assert "no suite" in vecsec("policy", "test", str(tmp_path), exit_code=2).stderr


def test_a_case_may_name_the_day(vecsec: Command, suite: Path, folder: Path) -> None:
    (folder / "own.cedar").write_text(
        '@id("own") forbid (principal, action, resource is Document) when { context.today < 20300101 };'
    )
    run = ("policy", "test", str(suite), "--policy", str(folder))
    suite.write_text(CASE.replace("    actions", "    day: 20300101\n    actions"))
    vecsec(*run)
    suite.write_text(CASE.replace("    actions", "    day: 20291231\n    actions"))
    assert "WITHHOLD by own" in vecsec(*run, exit_code=1).stdout
    suite.write_text(CASE.replace("    actions", "    day: 20291399\n    actions"))
    assert "cannot be decided" in vecsec(*run, exit_code=1).stdout
