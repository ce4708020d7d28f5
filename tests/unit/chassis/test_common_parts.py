"""What services are told about how to listen reaches their servers, each by variables of its own."""

import pytest

from vecsec_chassis.process.common_parts import running_common_parts
from vecsec_chassis.settings import ListeningSettings
from vecsec_gateway.settings import GatewaySettings
from vecsec_policy.settings import PolicySettings
from vecsec_retrieval.settings import RetrievalSettings


@pytest.mark.parametrize(
    ("service", "kind", "needs"),
    [
        ("gateway", GatewaySettings, ["VECSEC_ISSUERS_FILE"]),
        ("policy", PolicySettings, ["VECSEC_ISSUERS_FILE", "VECSEC_GRANT_KEY_FILE", "VECSEC_AUDIT_FILE"]),
        ("retrieval", RetrievalSettings, ["VECSEC_GRANT_JWKS"]),
    ],
)
async def test_each_service_listens_as_its_own_variables_say(
    service: str, kind: type[ListeningSettings], needs: list[str]
) -> None:
    own = f"VECSEC_{service.upper()}"
    told = dict.fromkeys(needs, "a-file") | {
        "VECSEC_BIND_ADDRESS": "127.0.0.2",
        f"{own}_PORT": "7",
        f"{own}_METRICS_PORT": "0",
        f"{own}_HEALTH_PORT": "8",
    }
    settings = kind.model_validate(told)
    assert settings.variable("allowed_peers") == f"{own}_ALLOWED_PEERS"
    assert (settings.bind_address, settings.port, settings.health_port) == ("127.0.0.2", 7, 8)
    assert (settings.variable("port"), settings.variable("health_port")) == (f"{own}_PORT", f"{own}_HEALTH_PORT")
    async with running_common_parts(service, settings) as (telemetry, certificates):
        assert telemetry.service == service
        assert certificates is None
