"""The rollout file: what it says, and what is wrong with it, with the line."""

from dataclasses import replace
from pathlib import Path

import pytest

from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.domain.labels import Sensitivity
from vecsec_policy.in_force.rollout import Rollout, read_rollout, rollout_text


def identity(subject: str) -> Identity:
    return Identity(subject, "tenant_a", "analyst", Sensitivity.INTERNAL, "https://issuer.test", 0.0)


def test_no_file_is_no_rollout(tmp_path: Path) -> None:
    assert read_rollout(tmp_path / "absent.yaml") is None


def test_everything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rollout.yaml"
    path.write_text(
        "candidate: next\nshadow: {share: 0.25, tenants: [tenant_a]}\npromoted:\n  tenants: [tenant_b]\n  all: false\n"
    )
    assert read_rollout(path) == Rollout(
        candidate=tmp_path / "next",
        shadow_share=0.25,
        shadow_tenants=frozenset({"tenant_a"}),
        promoted_tenants=frozenset({"tenant_b"}),
    )


@pytest.mark.parametrize(
    "rollout",
    [
        Rollout(candidate=Path("/next")),
        Rollout(candidate=Path("/next"), shadow_share=0.1),
        Rollout(candidate=Path("/next"), shadow_share=1.0, shadow_tenants=frozenset({"a", "b"})),
        Rollout(candidate=Path("/next"), promoted_tenants=frozenset({"a"})),
        Rollout(candidate=Path("/next"), promoted_to_all=True),
        Rollout(candidate=Path("candidates/one")),
    ],
)
def test_what_is_written_is_read_back(tmp_path: Path, rollout: Rollout) -> None:
    path = tmp_path / "rollout.json"
    rollout = replace(rollout, candidate=tmp_path / rollout.candidate)
    path.write_text(rollout_text(rollout, tmp_path))
    assert read_rollout(path) == rollout
    elsewhere = tmp_path / "as in a container" / "rollout.json"
    elsewhere.parent.mkdir()
    elsewhere.write_text(path.read_text())
    read = read_rollout(elsewhere)
    assert read is not None
    is_beside = rollout.candidate.is_relative_to(tmp_path)
    assert read.candidate == (elsewhere.parent / "candidates" / "one" if is_beside else rollout.candidate)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", ":1: the file is empty"),
        ("[]", ":1: the rollout file must be a mapping"),
        ("shadow: {share: 1}", ":1: the rollout file lacks `candidate`"),
        ("candidate: a\nshadwo: {}", ":2: the rollout file has no field 'shadwo'"),
        ("candidate: a\nshadow: {}", ":2: shadow says for whom"),
        ("candidate: a\nshadow:\n  share: 1.5", ":3: share of shadow must be a number from 0 to 1"),
        ("candidate: a\nshadow:\n  share: .nan", ":3: share of shadow must be a number from 0 to 1"),
        ("candidate: a\nshadow:\n  share: half", ":3: share of shadow must be a number from 0 to 1"),
        ("candidate: a\npromoted: {all: yes}", ":2: all of promoted must be true or false"),
        ("candidate: a\npromoted: {tenants: [Tenant]}", ":2: malformed tenant id 'Tenant'"),
        ("candidate: 7", ":1: candidate must be text"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "rollout.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        read_rollout(path)
    assert str(refused.value).startswith(f"{path}{complaint}")


def test_a_share_is_a_share_of_callers_and_stays_the_same() -> None:
    rollout = Rollout(candidate=Path("/next"), shadow_share=0.25)
    callers = [identity(f"caller-{number}") for number in range(2_000)]
    chosen = [caller for caller in callers if rollout.shadows("tenant_a", caller)]
    assert 400 < len(chosen) < 600
    assert chosen == [caller for caller in callers if rollout.shadows("tenant_a", caller)]
    wider = Rollout(candidate=Path("/next"), shadow_share=0.5)
    assert all(wider.shadows("tenant_a", caller) for caller in chosen), "who is in stays in"


def test_tenants_bound_the_shadow_and_promoted_ones_have_none() -> None:
    rollout = Rollout(
        candidate=Path("/next"),
        shadow_share=1.0,
        shadow_tenants=frozenset({"a", "b"}),
        promoted_tenants=frozenset({"b"}),
    )
    assert [tenant for tenant in "abc" if rollout.shadows(tenant, identity("alice"))] == ["a"]
    assert [tenant for tenant in "abc" if rollout.promotes(tenant)] == ["b"]
