"""Tokens as companies have them become callers, within what their issuer may say; what cannot be read is refused."""

import json
import time
from pathlib import Path as FilePath
from typing import Any

import jmespath
import pytest
import yaml
from jmespath.exceptions import JMESPathError
from support.issuer import AUDIENCE, Issuer

from vecsec_chassis.auth.claim_mapping import Bounds, GroupBound, matches
from vecsec_chassis.auth.claim_rules import Path, UnusableClaims
from vecsec_chassis.auth.issuers_file import load_trusted_issuers
from vecsec_chassis.auth.tokens import TokenVerifier
from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import ConfigurationError, InvalidToken
from vecsec_chassis.domain.labels import Sensitivity

KEYCLOAK = {
    "subject": "preferred_username",
    "tenant": {"path": "organization", "values": {"Acme GmbH": "acme"}},
    "role": {
        "path": "realm_access.roles",
        "values": {"kb-admins": "admin", "kb-users": "analyst", "everybody": "guest"},
        "first_of": ["admin", "analyst", "guest"],
    },
    "clearance": {"path": "level", "values": {"3": "SECRET", "2": "CONFIDENTIAL"}, "default": "INTERNAL"},
    "groups": "groups[?starts_with(@, '/kb/')]",
    "attributes": {"department": "dept", "since": "hired.year", "external": {"path": "ext", "default": False}},
}
CLAIMS = {
    "preferred_username": "alice",
    "organization": ["Acme GmbH"],
    "realm_access": {"roles": ["offline_access", "everybody", "kb-users"]},
    "groups": ["/kb/b", "/hr", "/kb/a", "/kb/b"],
    "dept": "law",
    "hired": {"year": 2019},
}


@pytest.fixture
def issuer(tmp_path: FilePath) -> Issuer:
    return Issuer(tmp_path)


def written(issuer: Issuer, name: str = "issuers.yaml", /, **changes: Any) -> FilePath:
    """An issuers file, as YAML or JSON; None takes something out."""
    usual = {"issuer": issuer.name, "audience": AUDIENCE, "jwks": "issuer.jwks.json", "algorithms": ["EdDSA"]}
    content = {"issuers": [{key: value for key, value in (usual | changes).items() if value is not None}]}
    path = issuer.folder / name
    path.write_text(json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content))
    return path


def verifier(issuer: Issuer, **changes: Any) -> TokenVerifier:
    return TokenVerifier(load_trusted_issuers(written(issuer, **changes)))


async def read(
    issuer: Issuer, claims: dict[str, Any], mapping: dict[str, Any] | None = None, **bounds: Any
) -> Identity:
    token = issuer.token(**{"tenant_id": None, "role": None, "clearance": None} | claims)  # type: ignore[arg-type]
    return await verifier(issuer, claims=mapping, bounds=bounds or None).verify(token)


async def refusal(issuer: Issuer, claims: dict[str, Any], mapping: dict[str, Any] | None = None, **bounds: Any) -> str:
    with pytest.raises(InvalidToken, match="missing, expired or not valid; get a fresh one") as refused:
        await read(issuer, claims, mapping, **bounds)
    return str(refused.value.detail)


async def test_a_token_as_keycloak_issues_it(issuer: Issuer) -> None:
    identity = await read(issuer, CLAIMS, KEYCLOAK)
    assert (identity.subject, identity.tenant_id, identity.role) == ("alice", "acme", "analyst")
    assert identity.clearance is Sensitivity.INTERNAL
    assert identity.groups == ("/kb/a", "/kb/b")
    further = (("department", "law"), ("external", False), ("issuer", issuer.name), ("since", 2019))
    assert identity.attributes == further


@pytest.mark.parametrize("name", ["issuers.yaml", "issuers.yml", "issuers.json"])
async def test_the_file_is_yaml_if_it_is_named_so(issuer: Issuer, name: str) -> None:
    path = written(issuer, name, claims=KEYCLOAK)
    token = issuer.token(**{"tenant_id": None, "role": None, "clearance": None} | CLAIMS)  # type: ignore[arg-type]
    assert (await TokenVerifier(load_trusted_issuers(path)).verify(token)).tenant_id == "acme"


async def test_without_a_mapping_claims_have_our_own_names(issuer: Issuer) -> None:
    identity = await verifier(issuer).verify(issuer.token(groups=["b", "a", "b"]))
    assert identity.groups == ("a", "b")
    assert identity.attributes == (("issuer", issuer.name),)


async def test_with_a_mapping_groups_count_only_where_it_says_so(issuer: Issuer) -> None:
    identity = await verifier(issuer, claims={"tenant": {"constant": "acme"}}).verify(issuer.token(groups=["a"]))
    assert (identity.tenant_id, identity.groups) == ("acme", ())


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"preferred_username": None}, "subject: 'preferred_username' yields nothing"),
        ({"preferred_username": ""}, "subject must be 1 to 256"),
        ({"preferred_username": "a" * 257}, "subject must be 1 to 256"),
        ({"preferred_username": ["alice", "bob"]}, "yields 2 values where one is needed"),
        ({"preferred_username": 7}, "yields a number where a text is needed"),
        ({"organization": "Globex"}, "tenant_id: 'organization' yields nothing"),
        ({"organization": [["Acme GmbH"]]}, "yields a list where a text is needed"),
        ({"realm_access": {"roles": ["offline_access"]}}, "role: 'realm_access.roles' yields nothing"),
        ({"realm_access": "roles"}, "role: 'realm_access.roles' yields nothing"),
        ({"level": {"a": 1}}, "clearance: 'level' yields an object"),
        ({"groups": "everything"}, "'groups[?starts_with(@, '/kb/')]'"),
        ({"groups": [7]}, "fails"),
        ({"groups": ["/kb/" + "x" * 5_000]}, "a group must be 1 to 250"),
        ({"groups": ["/kb/a\u202eb"]}, "a group must be 1 to 250 printable"),
        ({"dept": "x" * 300}, "department must be 1 to 256"),
        ({"dept": 1.5}, "department: 'dept' yields a number, which no rule can compare"),
        ({"dept": {"a": 1}}, "yields an object"),
        ({"dept": [1, 2]}, "yields a number where a text"),
        ({"hired": {"year": 2**63}}, "since"),
    ],
)
async def test_claims_that_do_not_say_who_calls(issuer: Issuer, claims: dict[str, Any], why: str) -> None:
    if why == "'groups[?starts_with(@, '/kb/')]'":
        assert (await read(issuer, CLAIMS | claims, KEYCLOAK)).groups == ()  # a filter over no list finds nothing
        return
    assert why in await refusal(issuer, CLAIMS | claims, KEYCLOAK)


async def test_more_groups_than_anybody_has_are_refused(issuer: Issuer) -> None:
    mapping = {"groups": "map(&to_string(@), groups)"}
    usual = {"tenant_id": "acme", "role": "analyst", "clearance": "PUBLIC"}
    assert len((await read(issuer, usual | {"groups": list(range(1_000))}, mapping)).groups) == 1_000
    assert "1,001 of them" in await refusal(issuer, usual | {"groups": list(range(1_001))}, mapping)


async def test_a_token_of_a_megabyte_is_not_even_looked_at(issuer: Issuer) -> None:
    assert "longer than 8,192" in await refusal(issuer, CLAIMS | {"groups": ["x" * 1_000] * 1_000}, KEYCLOAK)


async def test_the_first_role_is_that_of_the_order_not_of_the_token(issuer: Issuer) -> None:
    claims = CLAIMS | {"realm_access": {"roles": ["everybody", "kb-admins", "kb-users"]}}
    assert (await read(issuer, claims, KEYCLOAK)).role == "admin"


OWN = {"tenant_id": "acme-eu", "role": "analyst", "clearance": "CONFIDENTIAL"}


@pytest.mark.parametrize("tenants", [["acme-eu"], ["acme-*"], ["x", "*"], ["*-eu"], ["a*e-*u"]])
async def test_within_its_bounds_an_issuer_is_believed(issuer: Issuer, tenants: list[str]) -> None:
    bounds = {"tenants": tenants, "roles": ["guest", "analyst"], "max_clearance": "CONFIDENTIAL", "max_lifetime": "10m"}
    assert (await read(issuer, OWN, **bounds)).tenant_id == "acme-eu"


@pytest.mark.parametrize(
    ("allowed", "kept"),
    [
        (["finance", "/kb/*"], ("/kb/a", "/kb/b", "finance")),
        (["*"], ("/hr", "/kb/a", "/kb/b", "finance")),
        (["*b"], ("/kb/b",)),
        (["f*e", "/*r", "*k*a"], ("/hr", "/kb/a", "finance")),
        (["/kb/a*a", "finance*finance"], ()),
        (["FINANCE"], ()),
        ([], ()),
    ],
)
async def test_groups_that_an_issuer_may_not_say_do_not_count(
    issuer: Issuer, allowed: list[str], kept: tuple[str, ...]
) -> None:
    groups = ["/kb/b", "/hr", "/kb/a", "finance"]
    assert (await read(issuer, OWN | {"groups": groups}, groups=allowed)).groups == kept


@pytest.mark.parametrize("patterns", [[f"x*{n}" for n in range(50)], ["*a" * 50], ["*c*"] * 25])
def test_a_thousand_groups_by_all_patterns_there_may_be_keep_nobody_waiting(patterns: list[str]) -> None:
    names = [f"/{number}/exact" for number in range(1_000 - len(patterns))]
    bound = Bounds(groups=GroupBound.of([*names, *patterns]))
    groups = (*("xa" * 120 + f"{number:05}b" for number in range(999)), names[0])
    identity = Identity("bob", "acme", "analyst", Sensitivity.PUBLIC, issuer="i", expires_at=0.0, groups=groups)
    seconds = []
    for _ in range(5):
        start = time.thread_time()
        kept = bound.demand(identity).groups
        seconds.append(time.thread_time() - start)
    assert names[0] in kept
    assert min(seconds) < 0.15


@pytest.mark.parametrize(
    ("pattern", "name", "is_one"),
    [
        ("acme", "acme", True),
        ("acme", "acme-eu", False),
        ("acme*", "acme", True),
        ("*eu", "acme-eu", True),
        ("a*me*eu", "acme-eu", True),
        ("a*a", "a", False),
        ("ab*ba", "aba", False),
        ("*a*b*", "b-a", False),
        ("**", "", True),
        ("a.c*", "abc", False),
        ("*a" * 100, "a" * 240 + "b", False),
    ],
)
def test_patterns(pattern: str, name: str, is_one: bool) -> None:
    assert matches(pattern, name) is is_one


@pytest.mark.parametrize(
    ("claims", "bounds", "why"),
    [
        ({}, {"tenants": ["acme"]}, "may not speak for tenant 'acme-eu'"),
        ({"tenant_id": "globex"}, {"tenants": ["acme-*"]}, "may not speak for tenant 'globex'"),
        ({"tenant_id": "xacme-eu"}, {"tenants": ["acme-*"]}, "may not speak for tenant"),
        ({"role": "admin"}, {"roles": ["analyst"]}, "may not give the role 'admin'"),
        ({"clearance": "SECRET"}, {"max_clearance": "CONFIDENTIAL"}, "may not give clearance SECRET"),
        ({}, {"max_lifetime": "9m"}, "valid for 600 s, of which its issuer may give 540 s"),
        ({}, {"max_lifetime": 599}, "valid for 600 s"),
    ],
)
async def test_outside_of_its_bounds_it_is_not(
    issuer: Issuer, claims: dict[str, Any], bounds: dict[str, Any], why: str
) -> None:
    """THREATS 25: an issuer that is trusted for one company speaks for another."""
    assert why in await refusal(issuer, OWN | claims, **bounds)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"audience": None}, "either audience or audiences"),
        ({"audiences": ["a"]}, "either audience or audiences"),
        ({"jwks": None}, "either jwks (a path or URL) or discovery"),
        ({"discovery": True}, "either jwks (a path or URL) or discovery"),
        ({"jwks": None, "discovery": True, "issuer": "kubernetes"}, "is no URL"),
        ({"ca_file": "ca.pem"}, "for keys behind a URL"),
        ({"jwks": "http://keys.test/a", "token_file": "t"}, "token_file needs https"),
        ({"algorithms": ["HS256"]}, "allowed are"),
        ({"claims": {"role": "a["}}, "'a[' is no JMESPath"),
        ({"claims": {"role": "nonsense(a)"}}, "no function 'nonsense'"),
        ({"claims": {"role": "a[?nonsense(@)] | [0]"}}, "no function 'nonsense'"),
        ({"claims": {"role": "join(a)"}}, "join takes 2 arguments, not 1"),
        ({"claims": {"role": {}}}, "either a path or a constant"),
        ({"claims": {"role": {"path": "a", "constant": "b"}}}, "either a path or a constant"),
        ({"claims": {"role": {"constant": "b", "default": "c"}}}, "a constant has no table"),
        ({"claims": {"role": {"path": "a", "values": {"x": "admin"}, "first_of": ["guest"]}}}, "'guest', which the"),
        ({"claims": {"subject": {"constant": "b"}}}, "one caller of all"),
        ({"claims": {"groups": {"path": "a", "first_of": ["x"]}}}, "no first_of"),
        ({"claims": {"attributes": {"role": "a"}}}, "'role' can be no further attribute"),
        ({"claims": {"attributes": {"A": "a"}}}, "'A' can be no further attribute"),
        ({"claims": {"rolle": "a"}}, "issuers.0.claims.rolle: Extra inputs"),
        ({"bounds": {"tenants": []}}, "bounds.tenants"),
        ({"bounds": {"tenants": ["Acme"]}}, "bounds.tenants.0"),
        ({"bounds": {"groups": [""]}}, "bounds.groups.0"),
        ({"bounds": {"groups": ["a\nb"]}}, "can be no group's name"),
        ({"bounds": {"groups": ["a" * 251]}}, "bounds.groups.0"),
        ({"bounds": {"groups": "finance"}}, "bounds.groups"),
        ({"bounds": {"groups": None}}, "bounds: nothing stands behind 'groups'; leave it out, or say [] for none"),
        ({"bounds": {"tenants": None}}, "bounds: nothing stands behind 'tenants'; leave it out"),
        ({"bounds": {"roles": None}}, "bounds: nothing stands behind 'roles'; leave it out"),
        ({"bounds": {"max_clearance": None}}, "nothing stands behind 'max_clearance'"),
        ({"bounds": {"max_lifetime": None}}, "nothing stands behind 'max_lifetime'"),
        ({"bounds": {"groups": [f"team-{n}-*" for n in range(51)]}}, "51 stars in the patterns, more than 50; list"),
        ({"bounds": {"groups": ["*" * 51]}}, "51 stars"),
        ({"bounds": {"max_clearance": "TOP"}}, "must be one of PUBLIC"),
        ({"bounds": {"max_lifetime": "soon"}}, "30m, 12h, 7d"),
        ({"bounds": {"max_lifetime": 0}}, "greater than 0"),
        ({"keep_keys": "1y"}, "30m, 12h, 7d"),
    ],
)
def test_a_wrong_file_is_told_with_the_place(issuer: Issuer, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match="VECSEC_ISSUERS_FILE=") as told:
        load_trusted_issuers(written(issuer, **changes))
    assert why in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("i.json", '{"issuers": [], "issuers": []}', "'issuers' is written twice"),
        ("i.yaml", "issuers: []\nissuers: []", "'issuers' is written twice, again in line 2"),
        ("i.yaml", "issuers: [", "expected"),
        ("i.yaml", "a: &a [*a]", ""),
        ("i.yaml", "!!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("i.yaml", "- issuers", "valid dictionary"),
        ("i.yaml", "[" * 5_000, "nested too deeply"),
        ("i.json", "[" * 100_000, "nested too deeply"),
        ("i.json", "\xff", ""),
    ],
)
def test_what_is_no_file_of_issuers(tmp_path: FilePath, name: str, text: str, why: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigurationError) as told:
        load_trusted_issuers(path)
    assert why in str(told.value)


@pytest.mark.parametrize("part", ["claims", "bounds"])
def test_a_part_that_ends_before_it_begins(issuer: Issuer, part: str) -> None:
    path = written(issuer)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text())) + f"  {part}:\n")
    with pytest.raises(ConfigurationError, match=f"nothing stands behind '{part}'; leave it out"):
        load_trusted_issuers(path)


def test_an_issuer_stands_in_the_file_once(issuer: Issuer) -> None:
    path = written(issuer)
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({"issuers": content["issuers"] * 2}))
    with pytest.raises(ConfigurationError, match="twice"):
        load_trusted_issuers(path)


async def test_a_caller_is_issuer_and_subject(issuer: Issuer) -> None:
    """THREATS 25: two people of two issuers become one."""
    second = Issuer(issuer.folder / "second", name="https://second.test/a#b")
    path = written(issuer)
    content = yaml.safe_load(path.read_text())
    other = content["issuers"][0] | {"issuer": second.name, "jwks": "second/issuer.jwks.json"}
    path.write_text(yaml.safe_dump({"issuers": [*content["issuers"], other]}))
    both = TokenVerifier(load_trusted_issuers(path))
    assert (await both.verify(issuer.token(subject="alice"))).subject == "alice"
    named = await both.verify(second.token(subject="alice#1"))
    assert named.subject == "issuer:https://second.test/a%23b#alice#1"
    assert dict(named.attributes)["issuer"] == second.name
    for each in (issuer, second):
        with pytest.raises(InvalidToken) as refused:
            await both.verify(each.token(subject=named.subject))
        assert "looks like a caller of another issuer" in str(refused.value.detail)


async def test_who_acts_in_the_name_of_the_caller_is_known(issuer: Issuer) -> None:
    act = {"sub": "assistant", "act": {"iss": "https://other.test", "sub": "tool"}}
    identity = await read(issuer, OWN | {"act": act})
    assert (identity.subject, identity.actors) == ("alice", ("assistant", "https://other.test#tool"))


@pytest.mark.parametrize(
    ("act", "why"),
    [
        ("assistant", "must be an object"),
        ({}, "its sub must be"),
        ({"sub": "a\u202eb"}, "its sub must be"),
        ({"sub": 7}, "its sub must be"),
        ({"sub": "a", "iss": 7}, "its iss must be"),
        ({"sub": "a", "act": []}, "must be an object"),
    ],
)
async def test_an_act_that_does_not_say_who_is_refused(issuer: Issuer, act: object, why: str) -> None:
    assert why in await refusal(issuer, OWN | {"act": act})


async def test_an_endless_chain_of_actors_is_refused(issuer: Issuer) -> None:
    act: dict[str, Any] = {"sub": "a"}
    for _ in range(8):
        act = {"sub": "a", "act": act}
    assert "more than 8" in await refusal(issuer, OWN | {"act": act})


@pytest.mark.parametrize("function", ["contains", "ends_with", "starts_with"])
@pytest.mark.parametrize("groups", [["/kb/a", "a", ""], [], ["a", 7], [None], "a", {"a": "a"}, None, [["a"]]])
@pytest.mark.parametrize("literal", ["'/kb/'", "'a'", "''", "`7`", "`null`"])
def test_a_filter_of_groups_says_what_jmespath_says(function: str, groups: object, literal: str) -> None:
    expression, claims = f"groups[?{function}(@, {literal})]", {"groups": groups}
    try:
        expected = jmespath.search(expression, claims)
    except (JMESPathError, TypeError):  # it has TypeErrors of Python's own, too
        with pytest.raises(UnusableClaims):
            Path(expression).find(claims)
    else:
        assert Path(expression).find(claims) == expected
