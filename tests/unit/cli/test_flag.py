"""`vecsec flag`: what it writes is what the services do."""

import asyncio
import json
from pathlib import Path

import pytest
from opentelemetry.metrics import NoOpMeter
from support.cli_command import Command

from vecsec_chassis.flag.flag import real_retrieval_flag
from vecsec_chassis.flag.flag_file import FLAG_KEY, TENANT_ATTRIBUTE
from vecsec_cli.local import flag_file

OURS = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}


def flag_document(flag: object) -> str:
    return json.dumps({"flags": {FLAG_KEY: flag}})


def test_the_names_are_those_of_the_services() -> None:
    assert (flag_file.FLAG_KEY, flag_file.TENANT_ATTRIBUTE) == (FLAG_KEY, TENANT_ATTRIBUTE)


def seen_by_services(state: Path, *tenants: str) -> list[bool]:
    async def ask() -> list[bool]:
        file = state / "flags.json"
        async with real_retrieval_flag(True, file if file.exists() else None, NoOpMeter("test")) as flag:
            return [flag.is_on(tenant) for tenant in tenants]

    return asyncio.run(ask())


def test_the_file_that_the_services_were_told_of_is_the_one(
    vecsec: Command, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECSEC_FLAG_FILE", str(tmp_path / "elsewhere" / "flags.json"))
    vecsec("flag", "set", "off")
    assert vecsec.json("flag", "get")["file"] == str(tmp_path / "elsewhere" / "flags.json")
    assert seen_by_services(tmp_path / "elsewhere", "tenant_a") == [False]
    assert seen_by_services(state, "tenant_a") == [True]


def test_without_a_file_services_that_are_told_of_it_take_it_for_off(vecsec: Command, state: Path) -> None:
    assert vecsec.json("flag", "get") == {
        "flag": FLAG_KEY,
        "file": str(state / "flags.json"),
        "exists": False,
        "set": False,
    }
    assert "is not there" in vecsec("flag", "get").stdout
    assert not state.exists()


def test_a_file_without_a_rule_leaves_it_to_the_environment(vecsec: Command, state: Path) -> None:
    state.mkdir()
    (state / "flags.json").write_text('{"flags": {}}')
    assert "USE_REAL_VECTOR_RETRIEVAL" in vecsec("flag", "get").stdout
    assert seen_by_services(state, "tenant_a") == [True]


def test_for_everybody(vecsec: Command, state: Path) -> None:
    vecsec("flag", "set", "off")
    assert seen_by_services(state, "tenant_a", "tenant_b") == [False, False]
    assert "off" in vecsec("flag", "get").stdout
    vecsec("flag", "set", "on")
    assert seen_by_services(state, "tenant_a", "tenant_b") == [True, True]


def test_for_some_tenants(vecsec: Command, state: Path) -> None:
    state.mkdir()
    (state / "flags.json").write_text(json.dumps({"flags": {}}))
    vecsec("flag", "set", "off", "--tenant", "tenant_a", "--tenant", "tenant_c")
    assert seen_by_services(state, "tenant_a", "tenant_b", "tenant_c") == [False, True, False]
    assert vecsec.json("flag", "get", "--tenant", "tenant_a")["value"] is False
    assert vecsec.json("flag", "get", "--tenant", "tenant_b")["value"] is True
    vecsec("flag", "set", "on", "--tenant", "tenant_a")
    assert seen_by_services(state, "tenant_a", "tenant_b", "tenant_c") == [True, True, False]
    assert vecsec.json("flag", "get")["tenants"] == {"tenant_c": False}


def test_a_lost_switch_stays_off_for_those_who_are_not_named(vecsec: Command, state: Path) -> None:
    vecsec("flag", "set", "off", "--tenant", "tenant_a")
    assert seen_by_services(state, "tenant_a", "tenant_b") == [False, False]
    vecsec("flag", "set", "on", "--tenant", "tenant_a")
    assert seen_by_services(state, "tenant_a", "tenant_b") == [True, False]


def test_off_for_everybody_knows_no_exceptions(vecsec: Command, state: Path) -> None:
    vecsec("flag", "set", "off")
    vecsec("flag", "set", "on", "--tenant", "tenant_a")
    assert seen_by_services(state, "tenant_a", "tenant_b") == [True, False]
    assert vecsec.json("flag", "set", "off")["removed"] == {"tenant_a": "on"}
    assert seen_by_services(state, "tenant_a", "tenant_b") == [False, False]


def test_other_content_of_the_file_stays(vecsec: Command, state: Path) -> None:
    state.mkdir()
    other = {"state": "ENABLED", "variants": {"a": 1}, "defaultVariant": "a"}
    own = OURS | {"state": "DISABLED", "metadata": {"owner": "ops"}}
    document = {"$schema": "x", "flags": {"other": other, FLAG_KEY: own}, "$evaluators": {}}
    (state / "flags.json").write_text(json.dumps(document))
    assert vecsec.json("flag", "get")["set"] is False
    vecsec("flag", "set", "off")
    written = json.loads((state / "flags.json").read_text())
    assert written["flags"]["other"] == other
    assert written["$evaluators"] == {}
    assert written["flags"][FLAG_KEY]["metadata"] == {"owner": "ops"}
    assert seen_by_services(state, "tenant_a") == [False]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"flags": []}',
        flag_document([1]),
        flag_document(OURS | {"variants": {"yes": True}}),
        flag_document(OURS | {"variants": {"on": True, "off": False, "half": True}}),
        flag_document(OURS | {"defaultVariant": None}),
        flag_document(OURS | {"targeting": "always"}),
        flag_document(OURS | {"targeting": {"fractional": [["on", 50], ["off", 50]]}}),
        flag_document(OURS | {"targeting": {"if": [{"ends_with": [{"var": "tenant_id"}, "_b"]}, "off"]}}),
        flag_document(OURS | {"targeting": {"if": [{"in": [{"var": "tenant_id"}, ["a"]]}, "off", "on"]}}),
    ],
)
def test_what_it_does_not_understand_it_leaves_alone(vecsec: Command, state: Path, content: str) -> None:
    state.mkdir()
    (state / "flags.json").write_text(content)
    for command in (("flag", "get"), ("flag", "set", "off"), ("flag", "set", "off", "--tenant", "tenant_a")):
        assert "flags.json" in vecsec(*command, exit_code=2).stderr
    assert (state / "flags.json").read_text() == content
