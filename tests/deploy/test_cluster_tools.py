"""Tools and backups in a cluster: what is mounted, named and typed there is what the rendered manifests have."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.manifests import KUBERNETES, Manifest, Workload, of_kind, rendered, services, workloads

from vecsec_chassis.auth.issuers_file import load_trusted_issuers
from vecsec_policy.in_force.snapshot import load_snapshot
from vecsec_policy.settings import PACKAGED_POLICY, PolicySettings
from vecsec_retrieval.settings import RetrievalSettings

pytestmark = pytest.mark.kubectl

WITH_TOOLS = ("dev", "prod", "prod-shards")
README = (KUBERNETES / "README.md").read_text()


def workload(overlay: str, component: str) -> Workload:
    (found,) = (each for each in workloads(overlay) if each.component == component)
    return found


@pytest.mark.parametrize("overlay", WITH_TOOLS)
@pytest.mark.parametrize("component", ["policy", "retrieval"])
def test_what_is_put_into_a_pod_finds_what_the_service_has(overlay: str, component: str) -> None:
    name = f"tools/beside-{component}.yaml"
    partial: Any = yaml.safe_load((KUBERNETES / name).read_text())
    service = workload(overlay, component)
    own = {each["name"]: each["mountPath"] for each in service.container["volumeMounts"]}
    assert {each["name"]: each["mountPath"] for each in partial["volumeMounts"]}.items() <= own.items()
    environment = {each["name"]: each for each in service.container["env"]}
    assert all(environment[each["name"]] == each for each in partial["env"])
    assert set(partial) == {"env", "volumeMounts"}, "kubectl refuses more, and an ephemeral container has no more"
    typed = re.search(rf"kubectl .*debug vecsec-{component}-0 [^\n]*(?:\n[^\n]*)?--custom {name}", README)
    assert typed is not None, "the README has the command"


@pytest.mark.parametrize("overlay", WITH_TOOLS)
def test_tools_have_the_store_in_retrievals_place_and_run_only_when_told(overlay: str) -> None:
    tools, retrieval = workload(overlay, "tools"), workload(overlay, "retrieval")
    assert tools.spec["replicas"] == 0, "a store admits one process"
    (volume,) = (each for each in tools.volumes.values() if "persistentVolumeClaim" in each)
    assert volume["persistentVolumeClaim"]["claimName"] == f"chroma-{retrieval.name}-0"
    assert tools.mounts["chroma"] == retrieval.mounts["chroma"]
    settings = RetrievalSettings.model_validate(retrieval.environment)
    assert Path(tools.environment["CHROMA_PATH"]) == settings.chroma_path
    gateway = workload(overlay, "gateway")
    assert tools.environment["VECSEC_GATEWAY"] == f"dns:///{gateway.name}.vecsec.svc:{gateway.ports['grpc']}"
    assert ("VECSEC_ROOT_CERTIFICATES" in tools.environment) is (overlay != "dev")
    for scaled in (f"statefulset/{retrieval.name}", f"deployment/{tools.name}"):
        assert f"scale {scaled} --replicas" in README


@pytest.fixture
def backup() -> Manifest:
    (job,) = of_kind("prod-service-accounts", "CronJob")
    return job


def test_a_backup_is_made_by_an_administrator_who_may_read_all_of_the_tenant(backup: Manifest) -> None:
    pod = backup["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (issuer,) = load_trusted_issuers(KUBERNETES / "components" / "service-accounts" / "issuers.json")
    account = f"system:serviceaccount:{backup['metadata']['namespace']}:{pod['serviceAccountName']}"
    claims = {"sub": account, "kubernetes.io": {"namespace": backup["metadata"]["namespace"]}}
    identity = issuer.mapping.identity(claims, issuer=issuer.issuer, expires_at=0.0)
    issuer.limits.demand(identity)
    (container,) = pod["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert (identity.tenant_id, identity.role) == (environment["TENANT"], "admin")
    assert identity.clearance.name == "SECRET", "what it may not read would not be in the archive"
    assert load_snapshot(PACKAGED_POLICY).roles["admin"]
    (token,) = (each["projected"]["sources"][0] for each in pod["volumes"] if each["name"] == "token")
    assert token["serviceAccountToken"]["audience"] in issuer.accepted_audiences
    assert token["serviceAccountToken"]["expirationSeconds"] <= issuer.bounds.max_lifetime
    assert pod["automountServiceAccountToken"] is False


def test_a_backup_reaches_the_gateway_and_nothing_else(backup: Manifest) -> None:
    labels = backup["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    into, out = set(), set()
    for policy in of_kind("prod-service-accounts", "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            if any(
                each.get("podSelector", {}).get("matchLabels", {}).items() <= labels.items()
                for each in rule["from"]
                if "podSelector" in each
            ):
                into.add(policy["metadata"]["name"])
        selector = policy["spec"]["podSelector"]
        if selector and selector.get("matchLabels", {"-": ""}).items() <= labels.items():
            out.add(policy["metadata"]["name"])
    assert (into, out) == ({"backup-to-gateway"}, {"backup"})


def test_the_archive_is_checked_before_an_older_one_goes(backup: Manifest) -> None:
    (container,) = backup["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    (script,) = container["args"]
    steps = [script.index(each) for each in ("vecsec tenant export", "vecsec tenant verify --archive", "rm -r")]
    assert steps == sorted(steps)
    assert container["command"] == ["sh", "-euc"], "one that fails ends it"
    assert backup["spec"]["concurrencyPolicy"] == "Forbid"


def test_the_audit_log_is_found_by_the_name_of_the_pod() -> None:
    for overlay in WITH_TOOLS:
        (policy,) = (each for each in services(overlay) if each.component == "policy")
        assert PolicySettings.model_validate(policy.environment).audit_file.name == "metadata.name.jsonl"


NAMED = re.compile(
    r"\b(?:(statefulset|deployment|deploy|configmap|secret)[/ ])?(vecsec-(?:[a-z]+-)*[a-z]+(?:-\d)?)(?=[\s`,:;.)]|$)"
)
KIND = {"statefulset": "StatefulSet", "deployment": "Deployment", "deploy": "Deployment"}


def names_in(command: str) -> set[tuple[str, str]]:
    return {(kind, name) for kind, name in NAMED.findall(command) if name != "vecsec-tools"}


def test_what_the_runbook_names_on_kubernetes_is_there() -> None:
    text = (KUBERNETES.parent / "RUNBOOK.md").read_text()
    typed = re.findall(r"`(kubectl [^`]+)`", text)
    assert len(typed) >= 6
    known = {(each["kind"], each["metadata"]["name"]) for each in rendered("prod")}
    pods = {f"{name}-{number}" for kind, name in known if kind == "StatefulSet" for number in range(3)}
    once = {f"vecsec-{path.stem}" for path in (KUBERNETES / "once").iterdir()}
    found = set[tuple[str, str]]().union(*(names_in(each) for each in typed))
    assert len(found) >= 4
    for kind, name in found:
        if kind in KIND:
            assert (KIND[kind], name) in known, f"{kind}/{name}"
        else:
            assert name in pods | once | {each for _, each in known}, name
