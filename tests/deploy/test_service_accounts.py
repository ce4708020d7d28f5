"""Pods as callers: the component, its issuers file, and the pod that it shows fit together, and fit the services."""

import json
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from support.manifests import KUBERNETES, of_kind, rendered, services

from vecsec_chassis.auth.issuers_file import load_trusted_issuers
from vecsec_policy.in_force.snapshot import load_snapshot
from vecsec_policy.settings import PACKAGED_POLICY

FOLDER = KUBERNETES / "components" / "service-accounts"
CALLER = KUBERNETES.parent / "examples" / "kubernetes" / "service-account-caller.yaml"
OVERLAY = "prod-service-accounts"


@pytest.mark.kubectl
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_manifests_follow_the_published_schemas(version: str) -> None:
    builtin = [each for each in rendered(OVERLAY) if not each["apiVersion"].startswith(("cert-m", "monitoring.c"))]
    for manifest in [*builtin, yaml.safe_load(CALLER.read_text())]:
        kubernetes_validate.validate(dict(manifest), version, strict=True)


@pytest.mark.kubectl
def test_who_verifies_tokens_may_ask_for_keys_and_nobody_else() -> None:
    (issuer,) = load_trusted_issuers(FOLDER / "issuers.json")
    for workload in services(OVERLAY):
        mounted = {mount: workload.volumes[name] for name, mount in workload.mounts.items()}
        volume = mounted.get("/etc/vecsec/cluster")
        if workload.component == "retrieval":
            assert volume is None
            continue
        assert volume is not None
        token, authority = volume["projected"]["sources"]
        assert issuer.token_file == Path("/etc/vecsec/cluster") / token["serviceAccountToken"]["path"]
        assert issuer.ca_file == Path("/etc/vecsec/cluster") / authority["configMap"]["items"][0]["path"]
        assert "audience" not in token["serviceAccountToken"], "it is for the API server"
    (policy,) = (
        each for each in of_kind(OVERLAY, "NetworkPolicy") if each["metadata"]["name"] == "service-account-keys"
    )
    (selector,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert selector["values"] == ["gateway", "policy"]


def test_the_issuers_file_and_the_calling_pod_fit_together() -> None:
    (issuer,) = load_trusted_issuers(FOLDER / "issuers.json")
    pod = yaml.safe_load(CALLER.read_text())
    (source,) = pod["spec"]["volumes"][0]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] in issuer.accepted_audiences
    assert source["serviceAccountToken"]["expirationSeconds"] <= issuer.bounds.max_lifetime
    account = {"namespace": pod["metadata"]["namespace"], "serviceaccount": {"name": pod["spec"]["serviceAccountName"]}}
    claims = {"sub": "system:serviceaccount:shop:web", "kubernetes.io": account}
    identity = issuer.mapping.identity(claims, issuer=issuer.issuer, expires_at=0.0)
    issuer.limits.demand(identity)
    assert (identity.tenant_id, identity.role, identity.clearance.name) == ("tenant_a", "analyst", "INTERNAL")
    policy = load_snapshot(PACKAGED_POLICY)
    assert set(json.loads((FOLDER / "issuers.json").read_text())["issuers"][0]["bounds"]["roles"]) <= set(policy.roles)
