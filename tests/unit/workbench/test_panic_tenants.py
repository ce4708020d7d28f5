"""Which tenant `vecsec panic --all` tries its outcome in first: that of the operator's token, as its issuer says it."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.issuer import AUDIENCE, Issuer

from vecsec_workbench.leak_response.response import _own_first, tenant_of_token

TENANTS = ("acme", "bolt", "corp")


def write(issuer: Issuer, **changes: Any) -> Path:
    usual = {"issuer": issuer.name, "audience": AUDIENCE, "jwks": "issuer.jwks.json", "algorithms": ["EdDSA"]}
    issuer.issuers_file.write_text(json.dumps({"issuers": [usual | changes]}))
    return issuer.issuers_file


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


@pytest.mark.parametrize(
    ("claims", "said", "tenant"),
    [
        ({"tenant": "org"}, {"org": "corp"}, "corp"),
        ({"tenant": {"constant": "bolt"}}, {}, "bolt"),
        ({"tenant": {"path": "org", "values": {"Acme GmbH": "acme"}}}, {"org": "Acme GmbH"}, "acme"),
        (None, {"tenant_id": "bolt"}, "bolt"),
        # What the mapping cannot read is looked for under our own name: the services say whether it holds.
        ({"tenant": "org"}, {"tenant_id": "bolt"}, "bolt"),
    ],
)
def test_the_tenant_is_read_as_the_services_read_it(
    issuer: Issuer, claims: dict[str, Any] | None, said: dict[str, Any], tenant: str
) -> None:
    path = write(issuer, claims=claims) if claims else write(issuer)
    token = issuer.token(**({"tenant_id": None} | said))
    assert tenant_of_token(token, path) == tenant
    assert _own_first(token, path, TENANTS)[0] == tenant


@pytest.mark.parametrize("content", [None, "{", '{"issuers": []}'])
def test_without_an_issuers_file_that_can_be_read_it_goes_on(issuer: Issuer, content: str | None) -> None:
    if content is None:
        issuer.issuers_file.unlink()
    else:
        issuer.issuers_file.write_text(content)
    assert tenant_of_token(issuer.token("bolt"), issuer.issuers_file) == "bolt"
    assert tenant_of_token(issuer.token(tenant_id=None), issuer.issuers_file) is None
    assert tenant_of_token("no token", issuer.issuers_file) is None
    assert _own_first("no token", issuer.issuers_file, TENANTS) == list(TENANTS)
