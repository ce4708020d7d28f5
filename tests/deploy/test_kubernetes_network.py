"""Which pods may talk to which: from the rendered network policies alone."""

from collections.abc import Mapping

import pytest
import yaml
from support.manifests import KUBERNETES, OVERLAYS, Manifest, of_kind, workloads

from vecsec_gateway.app import SERVICE_NAME

pytestmark = [pytest.mark.kubectl, pytest.mark.parametrize("overlay", OVERLAYS)]


FLOWS_OF_PARTS = {"tools": ("tools", "gateway", 50051), "chromadb": ("retrieval", "chromadb", 8000)}
"""Of what not every overlay has."""


def _selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    return all(labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", []))


def test_only_the_intended_flows_are_let_through(overlay: str) -> None:
    """From the policies alone: which component may reach which, on which port; `*` is any pod of marked namespaces."""
    policies = [each["spec"] for each in of_kind(overlay, "NetworkPolicy")]
    pods = {each.component: each for each in workloads(overlay)}
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    into: set[tuple[str, str, int | str]] = set()
    out: set[tuple[str, str, int | str]] = set()
    for name, workload in pods.items():
        for policy in policies:
            if not _selects(policy["podSelector"], workload.pod_labels):
                continue
            for direction, flows in (("ingress", into), ("egress", out)):
                for rule in policy.get(direction, []):
                    for peer in rule["from" if direction == "ingress" else "to"]:
                        others = (
                            [other for other, its in pods.items() if _selects(peer["podSelector"], its.pod_labels)]
                            if "podSelector" in peer and "namespaceSelector" not in peer
                            else [_outside(peer)]
                        )
                        for other in others:
                            pair = (other, name) if direction == "ingress" else (name, other)
                            flows |= {(*pair, port["port"]) for port in rule["ports"]}
    inside = {("gateway", "policy", 50053), ("gateway", "retrieval", 50052), ("retrieval", "policy", 50053)}
    inside |= {flow for part, flow in FLOWS_OF_PARTS.items() if part in pods}
    if overlay == "prod-shards":
        inside.add(("retrieval", "retrieval", 50052))
    assert into == inside | {("callers", "gateway", 50051)} | {
        ("monitoring", name, "metrics") for name in ("gateway", "policy", "retrieval")
    }
    provider = set() if overlay == "dev" else {(name, "addresses", 443) for name in ("gateway", "policy")}
    dns = {("kube-system", 53), ("169.254.20.10/32", 53), ("openshift-dns", 5353)}
    assert out == inside | provider | {(name, *each) for name in pods for each in dns}


def _outside(peer: Manifest) -> str:
    if "ipBlock" in peer:
        cidr: str = peer["ipBlock"]["cidr"]
        return "addresses" if cidr == "0.0.0.0/0" else cidr
    labels = peer["namespaceSelector"]["matchLabels"]
    return labels.get("kubernetes.io/metadata.name", "callers")


def test_the_route_from_outside_leads_to_the_gateway(overlay: str) -> None:
    """The example of deploy/examples is of the rendered service, and of the service in the proto."""
    route, tls = yaml.safe_load_all((KUBERNETES.parent / "examples" / "kubernetes" / "grpc-route.yaml").read_text())
    (rule,) = route["spec"]["rules"]
    (backend,) = rule["backendRefs"]
    (service,) = (each for each in of_kind(overlay, "Service") if each["metadata"]["name"] == backend["name"])
    assert backend["port"] in {each["port"] for each in service["spec"]["ports"]}
    assert route["metadata"]["namespace"] == service["metadata"]["namespace"]
    assert [each["method"]["service"] for each in rule["matches"]] == [SERVICE_NAME, "grpc.health.v1.Health"]
    for certificate in of_kind(overlay, "Certificate"):
        if certificate["metadata"]["name"] == backend["name"]:
            assert tls["spec"]["validation"]["hostname"] in certificate["spec"]["dnsNames"]
