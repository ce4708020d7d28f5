"""What the MCP server makes of tokens and texts, apart from any service."""

import base64
import json
from typing import Any

import pytest
from mcp.server.mcpserver.exceptions import ToolError

from mcp_server_vecsec import ConfigurationError, HttpSettings
from mcp_server_vecsec.answers import Room
from mcp_server_vecsec.claims import claims_of, expiry_of, is_for, tenant_of
from mcp_server_vecsec.conditions import Condition, filter_of
from vecsec_client import all_of, at_least, equals, in_

RESOURCE = "https://mcp.example.org/mcp"


def token(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


@pytest.mark.parametrize(
    ("audience", "is_ours"),
    [
        (RESOURCE, True),
        (f"{RESOURCE}/", True),
        (["vecsec", RESOURCE], True),
        (f"{RESOURCE}2", False),
        ("https://mcp.example.org", False),
        (["vecsec", 5, None], False),
        ({"aud": RESOURCE}, False),
        (None, False),
    ],
)
def test_whom_a_token_is_for(audience: object, is_ours: bool) -> None:
    assert is_for(claims_of(token({"aud": audience})), RESOURCE) is is_ours


@pytest.mark.parametrize(
    "nonsense",
    ["", "a.b", "a.b.c", "a.!!!.c", token([]), token("x"), token(None), "é.é.é", "e30.W1tb.x", "....", "a" * 9],
)
def test_what_is_no_token_says_nothing(nonsense: str) -> None:
    assert claims_of(nonsense) == {}


def test_claims_of_odd_kinds_are_none() -> None:
    odd = claims_of(token({"exp": "soon", "tenant_id": ["tenant_a"]}))
    assert (expiry_of(odd), tenant_of(odd, "tenant_id"), tenant_of(odd, "absent")) == (None, None, None)
    good = claims_of(token({"exp": 17.9, "org": "tenant_a"}))
    assert (expiry_of(good), tenant_of(good, "org")) == (17, "tenant_a")


def test_texts_share_the_room_and_what_others_leave() -> None:
    room = Room(1_000, 3)
    assert [len(room.take(text) or "") for text in ("a" * 100, "b" * 900, "c" * 900)] == [100, 450, 450]
    crowded = Room(1_000, 20)
    taken = [crowded.take("x" * 500) for _ in range(20)]
    assert [len(each) for each in taken if each is not None] == [200] * 5
    assert taken[5:] == [None] * 15
    assert crowded.take("") == "", "what needs no room finds some"


def test_conditions_become_a_filter_and_what_does_not_fit_is_named() -> None:
    conditions = [
        Condition(key="kind", value="memo"),
        Condition(key="year", operator="at_least", value=2020),
        Condition(key="page", operator="in", value=[1, 2]),
    ]
    assert filter_of(conditions) == all_of(equals("kind", "memo"), at_least("year", 2020), in_("page", [1, 2]))
    assert filter_of([]) is None
    wrong: list[dict[str, Any]] = [
        {"operator": "in", "value": "memo"},
        {"operator": "in", "value": []},
        {"operator": "equals", "value": ["memo"]},
        {"operator": "less_than", "value": True},
    ]
    for each in wrong:
        with pytest.raises(ToolError, match="filter on 'kind': the operator"):
            filter_of([Condition(key="kind", **each)])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"resource": "http://mcp.example.org/mcp"}, "resource: must be an https address"),
        ({"resource": "mcp.example.org"}, "resource"),
        ({"resource": f"{RESOURCE}#x"}, "neither query nor fragment"),
        ({"issuer": ""}, "issuer: must be an https address"),
        ({"characters": 10}, "characters: must be 1,000 to 1,000,000, not 10"),
    ],
)
def test_settings_that_cannot_work_are_named(changes: dict[str, Any], complaint: str) -> None:
    good = {"resource": RESOURCE, "issuer": "https://login.example.org"}
    settings = HttpSettings(**good)
    assert (settings.path, settings.own_host, settings.origin) == ("/mcp", "mcp.example.org", "https://mcp.example.org")
    with pytest.raises(ConfigurationError, match=complaint):
        HttpSettings(**{**good, **changes})
