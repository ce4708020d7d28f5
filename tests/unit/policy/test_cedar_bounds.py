"""What would overflow the stack of Cedar's parser is refused before; what people write is not."""

import subprocess
import sys
from pathlib import Path

import cedarpy
import pytest

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_policy.cedar import bounds as cedar_bounds
from vecsec_policy.in_force.snapshot import load_snapshot

HEAD = '@id("x") permit (principal, action, resource) when { '


def rule(condition: str) -> str:
    return f"{HEAD}{condition} }};"


@pytest.mark.parametrize(
    ("condition", "complaint"),
    [
        ("(" * 61 + "true" + ")" * 61, "nested more than 60 deep"),
        ("[" * 61 + "]" * 61, "nested more than 60 deep"),
        ("true &&" * 1_001 + "true", "more than 1,000 operators"),
        ("if 1then 1else " * 1_001 + "1", "more than 1,000 operators"),
        ("principal" + ".a" * 1_001, "more than 1,000 operators"),
        (f'"{"x" * 70_000}" == ""', "longer than 65,536 characters"),
    ],
)
def test_what_is_out_of_bounds_is_refused(condition: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"rules\.cedar:7.*{complaint}"):
        cedar_bounds.check_policy("rules.cedar:7", rule(condition))


@pytest.mark.parametrize("text", ['"' + "((" * 100 + '" == ""', "true // " + "&&" * 2_000 + "\n"])
def test_strings_and_comments_do_not_count(text: str) -> None:
    cedar_bounds.check_policy("rules.cedar:1", rule(text))


def test_a_chain_that_cannot_travel_is_refused(folder: Path) -> None:
    chain = " || ".join(f'principal.subject == "{number}"' for number in range(100))
    (folder / "chain.cedar").write_text(
        f'@id("x") forbid (principal, action, resource is Document) when {{ {chain} }};'
    )
    with pytest.raises(ConfigurationError, match=r"chain\.cedar:1: the policy chains or nests more than about 50"):
        load_snapshot(folder)


def test_what_is_out_of_bounds_is_given_to_no_parser(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    for name in ("policies_to_json_str", "validate_policies"):
        parser = getattr(cedarpy, name)
        monkeypatch.setattr(cedarpy, name, lambda text, *also, parser=parser: given.append(text) or parser(text, *also))
    (folder / "bad.cedar").write_text('@id("y") permit (principal, action, resource);' + rule("(" * 61 + ")" * 61))
    with pytest.raises(ConfigurationError, match=r"bad\.cedar:1.*nested more than 60 deep"):
        load_snapshot(folder)
    assert any('@id("y")' in text for text in given)
    assert not any("(" * 61 in text for text in given)


def test_a_schema_is_held_to_the_bounds_too() -> None:
    with pytest.raises(ConfigurationError, match=r"nested more than 60 deep"):
        cedar_bounds.check_schema("schema", "entity A = { a: " + "Set<" * 61 + "Long" + ">" * 61 + " };")


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 59 + "true" + ")" * 59,
        "true &&" * 999 + "true",
        "if 1then 1else " * 999 + "1",
        "principal" + ".a" * 999,
    ],
)
def test_what_is_within_bounds_does_not_end_the_process(condition: str) -> None:
    """In a process of its own, for that is what is asked."""
    cedar_bounds.check_policy("rules.cedar:1", rule(condition))
    code = "import cedarpy, sys\ntry:\n cedarpy.policies_to_json_str(sys.stdin.read())\nexcept ValueError:\n pass"
    done = subprocess.run([sys.executable, "-c", code], input=rule(condition).encode(), check=False)
    assert done.returncode == 0
