"""Envoy in Compose and Kubernetes: the configuration that tests/rpc/gateway/test_http_json.py runs, nothing open."""

import base64
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.compose import copied_project
from support.envoy import HTTP
from support.manifests import of_kind, rendered

OVERLAY = "prod-http"
CONFIGURATION: dict[str, Any] = yaml.safe_load((HTTP / "envoy.yaml").read_text())


def test_the_configuration_opens_one_door_and_serves_the_gateway_alone() -> None:
    assert set(CONFIGURATION) == {"static_resources", "overload_manager"}, "no administration interface"
    (listener,) = CONFIGURATION["static_resources"]["listeners"]
    (filter_,) = listener["filter_chains"][0]["filters"]
    counted, transcoder, router = filter_["typed_config"]["http_filters"]
    assert counted["typed_config"]["max_request_bytes"] == transcoder["typed_config"]["max_request_body_size"]
    assert transcoder["typed_config"]["services"] == ["vecsec.gateway.v1.GatewayService"]
    assert set(transcoder["typed_config"]["request_validation_options"].values()) == {True}
    assert router["name"] == "envoy.filters.http.router"


@pytest.mark.kubectl
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_manifests_follow_the_published_schemas(version: str) -> None:
    builtin = [each for each in rendered(OVERLAY) if not each["apiVersion"].startswith(("cert-m", "monitoring.c"))]
    for manifest in builtin:
        kubernetes_validate.validate(dict(manifest), version, strict=True)


@pytest.mark.kubectl
def test_the_pods_read_the_one_configuration_and_reach_the_gateway_alone() -> None:
    (files,) = (each for each in of_kind(OVERLAY, "ConfigMap") if each["metadata"]["name"] == "vecsec-http")
    assert files["data"]["envoy.yaml"] == (HTTP / "envoy.yaml").read_text()
    assert base64.b64decode(files["binaryData"]["gateway.binpb"]) == (HTTP / "gateway.binpb").read_bytes()
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind(OVERLAY, "NetworkPolicy")}
    (egress,) = policies["http"]["egress"]
    assert egress["to"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "gateway"}}}]
    assert policies["http"]["ingress"][0]["from"] == policies["gateway"]["ingress"][0]["from"]
    (deployment,) = (each for each in of_kind(OVERLAY, "Deployment") if each["metadata"]["name"] == "vecsec-http")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.compose
def test_compose_has_it_as_a_profile_that_reaches_the_gateway_by_the_configured_name(tmp_path: Path) -> None:
    project = copied_project(tmp_path)
    assert project.prepare() == ""
    project.set(VECSEC_STORAGE="embedded")
    assert "http" not in project.config()["services"]
    services = project.config("embedded", "http")["services"]
    http = services["http"]
    assert (http["read_only"], http["cap_drop"], http["user"]) == (True, ["ALL"], "65532:65532")
    assert [(port["host_ip"], port["published"], port["target"]) for port in http["ports"]] == [
        ("127.0.0.1", "8080", 8080)
    ]
    assert set(http["networks"]) == {"callers"}
    (cluster,) = CONFIGURATION["static_resources"]["clusters"]
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    name = endpoint["endpoint"]["address"]["socket_address"]["address"]
    assert name in services["vecsec-agent"]["networks"]["callers"]["aliases"]
