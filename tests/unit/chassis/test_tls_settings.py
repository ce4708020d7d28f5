"""TLS settings: all or nothing; and the grammar of the allowed peers."""

import pytest

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.settings import ServiceSettings, load_settings
from vecsec_chassis.tls.allowed_peers import GATEWAY_ONLY, AllowedPeers, short_name
from vecsec_gateway.settings import GatewaySettings

TLS = {"VECSEC_TLS_CERTIFICATE_FILE": "c", "VECSEC_TLS_KEY_FILE": "k", "VECSEC_TLS_CA_FILE": "a"}


@pytest.mark.parametrize("missing", sorted(TLS))
def test_half_a_tls_configuration_is_refused_by_name(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TLS.items():
        monkeypatch.setenv(name, "" if name == missing else value)
    with pytest.raises(ConfigurationError, match=f"^bad settings: {missing} not set; TLS needs"):
        load_settings(ServiceSettings)


@pytest.mark.parametrize(
    ("name", "value"), [("VECSEC_GATEWAY_CLIENT_CA_FILE", "ca"), ("VECSEC_GATEWAY_ALLOWED_PEERS", "assistant.example")]
)
def test_certificates_of_callers_need_tls_and_an_authority(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECSEC_ISSUERS_FILE", "issuers.json")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        load_settings(GatewaySettings)


def test_nobody_may_call_what_no_entry_allows() -> None:
    allowed = AllowedPeers.parse(f"{GATEWAY_ONLY} auditor=CountViolations,ExplainAccess auditor=reflection")
    assert allowed.may_call(["spiffe://vecsec/gateway"], "PlanAccess")
    assert allowed.may_call(["unknown"], "health")
    assert not allowed.may_call([], "PlanAccess")
    assert not allowed.may_call(["unknown"], "reflection")
    assert allowed.may_call(["other", "auditor"], "ExplainAccess")
    assert allowed.may_call(["auditor"], "reflection")
    assert not allowed.may_call(["auditor"], "PlanAccess")
    assert not allowed.may_call(["SPIFFE://vecsec/gateway"], "PlanAccess")
    assert not AllowedPeers.parse("").may_call(["spiffe://vecsec/gateway"], "health")


@pytest.mark.parametrize("entry", ["=PlanAccess", "gateway=", "gateway=PlanAccess,", "gateway=,"])
def test_half_an_entry_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is neither"):
        AllowedPeers.parse(entry)


def test_methods_have_short_names() -> None:
    assert short_name("/vecsec.policy.v1.PolicyService/PlanAccess") == "PlanAccess"
    assert short_name("/grpc.health.v1.Health/Watch") == "health"
    assert short_name("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo") == "reflection"
