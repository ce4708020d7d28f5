"""The Helm chart says what the overlays say, changes what its values name alone, and refuses what is wrong."""

import copy
import functools
import importlib.util
import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.manifests import KUBERNETES, Workload, rendered
from support.parts import find_checkov, find_program
from support.waiting import COMMAND_SECONDS

from vecsec_chassis.flag.flag_file import parse_document
from vecsec_gateway.settings import GatewaySettings

pytestmark = [pytest.mark.helm, pytest.mark.kubectl]

CHART = KUBERNETES.parent / "helm"
PROFILES = ("dev", "prod", "prod-remote-store", "prod-shards", "prod-service-accounts")
Objects = dict[tuple[str, str], dict[str, Any]]
"""By kind and name."""
DIGEST = f"sha256:{'0' * 64}"


def helm(*arguments: str, values: str = "{}") -> subprocess.CompletedProcess[str]:
    """Run it with values as JSON."""
    return subprocess.run(
        [str(find_program("helm")), *arguments, "--values", "-"],
        input=values,
        capture_output=True,
        check=False,
        text=True,
        timeout=COMMAND_SECONDS,
    )


def by_name(manifests: Iterable[Any]) -> Objects:
    return {(each["kind"], each["metadata"]["name"]): each for each in manifests}


@functools.cache
def template(profile: str, values: str = "{}", namespace: str = "vecsec") -> str:
    """What the chart renders; values as JSON."""
    done = helm("template", "any", str(CHART), "--namespace", namespace, "--set", f"profile={profile}", values=values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(profile: str, namespace: str = "vecsec", **values: Any) -> Objects:
    return copy.deepcopy(by_name(yaml.safe_load_all(template(profile, json.dumps(values), namespace))))


def overlay(profile: str) -> Objects:
    return by_name(each for each in rendered(profile) if each["kind"] != "Namespace")


def refusal(*options: str) -> str:
    done = helm("template", "any", str(CHART), *options)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize("profile", PROFILES)
def test_the_chart_says_what_the_overlay_says(profile: str) -> None:
    assert objects(profile) == overlay(profile)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_what_it_renders_with_values_follows_the_published_schemas(profile: str, version: str) -> None:
    for manifest in objects(profile, "elsewhere", **EVERYTHING).values():
        if not manifest["apiVersion"].startswith(("cert-manager.io/", "monitoring.coreos.com/")):
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.checkov
@pytest.mark.slow
@pytest.mark.parametrize("profile", ["prod", "prod-service-accounts"])
def test_a_hardening_checker_finds_nothing(profile: str, tmp_path: Path) -> None:
    (tmp_path / "rendered.yaml").write_text(template(profile))
    command = [str(find_checkov()), "--directory", str(tmp_path), "--framework", "kubernetes", "--output", "json"]
    command += ["--quiet", "--compact", "--skip-download", "--skip-check", "CKV_K8S_15,CKV_K8S_43"]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=COMMAND_SECONDS)
    report = json.loads(done.stdout)
    assert [(each["check_id"], each["resource"]) for each in report["results"]["failed_checks"]] == []
    assert report["summary"]["passed"] > 200


EVERYTHING: Mapping[str, Any] = {
    "images": {
        "registry": "registry.example:5000/team",
        "tag": "1.2.3",
        "digests": {"policy": DIGEST},
        "pullSecrets": ["pull"],
    },
    "gateway": {
        "replicas": 4,
        "maxReplicas": 20,
        "resources": {"limits": {"memory": "1Gi"}},
        "settings": {"VECSEC_DEFAULT_FALLBACK": "none", "VECSEC_MAX_MESSAGE_BYTES": 67108864},
    },
    "policy": {"replicas": 5},
    "storage": {"class": "fast", "store": "100Gi", "audit": "30Gi"},
    "monitoring": {"release": "observability", "runbook": "https://wiki.example/vecsec"},
}


def test_values_are_in_their_places_and_nowhere_else() -> None:
    found, plain = objects("prod", **EVERYTHING), objects("prod")
    gateway = Workload(found["Deployment", "vecsec-gateway"])
    policy = Workload(found["StatefulSet", "vecsec-policy"])
    retrieval = Workload(found["StatefulSet", "vecsec-retrieval"])
    assert gateway.container["image"] == "registry.example:5000/team/vecsec-gateway:1.2.3"
    assert policy.container["image"] == f"registry.example:5000/team/vecsec-policy@{DIGEST}"
    assert gateway.pod["imagePullSecrets"] == policy.pod["imagePullSecrets"] == [{"name": "pull"}]
    assert gateway.container["resources"] == {"limits": {"memory": "1Gi"}}
    settings = GatewaySettings.model_validate(gateway.environment)
    assert (settings.default_fallback.value, settings.replicas, settings.max_message_bytes) == ("none", 4, 67108864)
    names = [each["name"] for each in gateway.container["env"]]
    assert len(names) == len(set(names))
    scaler = found["HorizontalPodAutoscaler", "vecsec-gateway"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (4, 20)
    assert found["HorizontalPodAutoscaler", "vecsec-policy"]["spec"]["minReplicas"] == 5
    sizes = {
        each["metadata"]["name"]: (each["spec"]["resources"]["requests"]["storage"], each["spec"]["storageClassName"])
        for workload in (policy, retrieval)
        for each in workload.spec["volumeClaimTemplates"]
    }
    assert sizes == {"audit": ("30Gi", "fast"), "violations": ("1Gi", "fast"), "chroma": ("100Gi", "fast")}
    rules = found["PrometheusRule", "vecsec"]
    assert rules["metadata"]["labels"]["release"] == "observability"
    links = [
        rule["annotations"]["runbook_url"]
        for group in rules["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert links
    assert all(link.startswith("https://wiki.example/vecsec#") for link in links)
    untouched = {name for name in plain if found[name] == plain[name]}
    changed = {kind for kind, _ in set(plain) - untouched}
    assert changed == {
        "Deployment", "StatefulSet", "HorizontalPodAutoscaler", "PrometheusRule", "ServiceMonitor",
    }  # fmt: skip


def test_replicas_without_an_autoscaler_are_the_workloads_own() -> None:
    found = objects("dev", gateway={"replicas": 2}, policy={"replicas": 3})
    gateway = Workload(found["Deployment", "vecsec-gateway"])
    assert (gateway.spec["replicas"], gateway.environment["VECSEC_GATEWAY_REPLICAS"]) == (2, "2")
    assert found["StatefulSet", "vecsec-policy"]["spec"]["replicas"] == 3
    assert found["Deployment", "vecsec-tools"]["spec"]["replicas"] == 0


@pytest.mark.parametrize("profile", PROFILES)
def test_the_namespace_is_the_releases(profile: str) -> None:
    """In addresses and certificates, too, so that two installations in one cluster do not talk to one another."""
    assert "__namespace__" not in template(profile)
    moved = json.dumps(sorted(objects(profile, "eu").items()))
    expected = json.dumps(sorted(objects(profile).items()))
    for before, after in ((".vecsec.svc", ".eu.svc"), ('"namespace": "vecsec"', '"namespace": "eu"')):
        expected = expected.replace(before, after)
    assert moved == expected
    assert ".vecsec.svc" not in moved


def test_monitoring_can_be_left_out() -> None:
    kinds = {kind for kind, _ in objects("prod", monitoring={"enabled": False})}
    assert not kinds & {"ServiceMonitor", "PrometheusRule"}
    assert kinds == {kind for kind, _ in objects("prod")} - {"ServiceMonitor", "PrometheusRule"}


@pytest.mark.parametrize("profile", PROFILES)
def test_no_upgrade_touches_what_operators_own(profile: str) -> None:
    names = {name for _, name in objects(profile)}
    assert not names & {"vecsec-flags", "vecsec-placement"}
    assert parse_document(
        yaml.safe_load((KUBERNETES / "once" / "flags.yaml").read_text())["data"]["flags.json"].encode(), is_yaml=False
    )
    assert "once/flags.yaml" in (CHART / "templates" / "NOTES.txt").read_text()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("gateway.replica=3", "gateway"),
        ("profile=staging", "profile"),
        ("gateway.replicas=0", "replicas"),
        ("gateway.replicas=many", "replicas"),
        ("images.registry=https://registry.example/", "registry"),
        ("images.digests.gateway=sha256:12", "digests"),
        ("storage.store=many", "store"),
        ("monitoring.runbook=wiki", "runbook"),
        ("monitoring.release=-", "release"),
        ("retrieval.replicas=2", "retrieval"),
        ("policy.settings.lower=1", "lower"),
        ("monitoring=null", "monitoring"),
    ],
)
def test_wrong_values_are_refused_by_name(option: str, said: str) -> None:
    problem = refusal("--set", option)
    assert "values don't meet the specifications of the schema" in problem
    assert said in problem


def test_more_replicas_than_there_may_be_are_refused() -> None:
    assert "vecsec-gateway: maxReplicas is 12, fewer than the 20 replicas" in refusal("--set", "gateway.replicas=20")


def test_a_namespace_that_is_too_long_is_refused() -> None:
    assert "63" in refusal("--namespace", "n" * 64)


@pytest.mark.parametrize("profile", PROFILES)
def test_helm_finds_nothing_to_complain_of(profile: str) -> None:
    done = helm("lint", str(CHART), "--strict", "--set", f"profile={profile}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_what_the_chart_holds_is_current() -> None:
    specification = importlib.util.spec_from_file_location("generate_chart", CHART / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    files: Mapping[Path, str] = module.generated(str(find_program("kubectl")))
    assert {path: path.read_text() for path in (CHART / "files").iterdir()} == files, "run deploy/helm/generate.py"
    assert tuple(module.PROFILES) == PROFILES
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"]["profile"]["enum"] == list(PROFILES)
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert yaml.safe_load((CHART / "values.yaml").read_text())["images"]["tag"] == version
