"""The Kubernetes manifests: valid, hardened, and in agreement with the services' own settings."""

import importlib.util
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from support.manifests import KUBERNETES, OVERLAYS, Manifest, of_kind, rendered, rendered_text, services, workloads
from support.monitoring import DASHBOARD_FILES
from support.parts import find_checkov
from support.waiting import COMMAND_SECONDS

from vecsec_chassis.domain.sizes import parse_size
from vecsec_chassis.file_watch import FileContent
from vecsec_chassis.flag.flag_file import parse_document
from vecsec_chassis.placement.placement import Placement
from vecsec_chassis.placement.placement_file import parse_placement
from vecsec_chassis.rpc.server import LIVENESS
from vecsec_chassis.settings import ServiceSettings
from vecsec_gateway.settings import GatewaySettings
from vecsec_policy.in_force.snapshot import load_snapshot
from vecsec_policy.settings import PolicySettings
from vecsec_retrieval.settings import RetrievalSettings

pytestmark = [pytest.mark.kubectl, pytest.mark.parametrize("overlay", OVERLAYS)]

SETTINGS: Mapping[str, type[ServiceSettings]] = {
    "gateway": GatewaySettings,
    "policy": PolicySettings,
    "retrieval": RetrievalSettings,
}
OPERATORS = ("cert-manager.io/", "monitoring.coreos.com/")
"""Their schemas are not published with Kubernetes'."""
FROM_OUTSIDE = {"vecsec-issuers", "vecsec-grant-key", "vecsec-grant-keys", "vecsec-flags"}
"""Made by hand, before the rest: the README says how."""
ONCE = {"vecsec-flags", "vecsec-placement"}
"""Made once, from deploy/kubernetes/once, and the operators' from then on."""
SKIPPED_CHECKS = {
    "CKV_K8S_15": "tags of releases never move, and nodes without a registry must be able to start pods",
    "CKV_K8S_43": "digests are known where images are built: an overlay sets them",
}


@pytest.mark.parametrize("version", ["1.30", "1.32", "1.34", "1.37"])
def test_manifests_follow_the_published_schemas(overlay: str, version: str) -> None:
    builtin = [each for each in rendered(overlay) if not each["apiVersion"].startswith(OPERATORS)]
    assert len(builtin) > 15
    for manifest in builtin:
        kubernetes_validate.validate(dict(manifest), version, strict=True)


@pytest.mark.checkov
@pytest.mark.slow
def test_a_hardening_checker_finds_nothing(overlay: str, tmp_path: Path) -> None:
    (tmp_path / "rendered.yaml").write_text(rendered_text(overlay))
    command = [str(find_checkov()), "--directory", str(tmp_path), "--framework", "kubernetes", "--output", "json"]
    command += ["--quiet", "--compact", "--skip-download", "--skip-check", ",".join(SKIPPED_CHECKS)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=COMMAND_SECONDS)
    report = json.loads(done.stdout)
    failed = [(each["check_id"], each["resource"]) for each in report["results"]["failed_checks"]]
    assert not failed
    assert report["summary"]["passed"] > 200
    assert report["summary"]["parsing_errors"] == 0


def test_settings_exist_and_are_valid(overlay: str) -> None:
    for workload in services(overlay):
        kind = SETTINGS[workload.component]
        names = {field.alias for field in kind.model_fields.values()}
        assert set(workload.environment) <= names, workload.name
        kind.model_validate(workload.environment)  # complains of what is missing or no value of its kind


def test_ports_agree_with_the_settings_and_among_one_another(overlay: str) -> None:
    by_name = {each["metadata"]["name"]: each for each in of_kind(overlay, "Service")}
    for workload in services(overlay):
        settings = SETTINGS[workload.component].model_validate(workload.environment)
        port, metrics_port, health_port = (getattr(settings, name) for name in ("port", "metrics_port", "health_port"))
        assert workload.ports == {"grpc": port, "metrics": metrics_port, "health": health_port}
        container = workload.container
        probes = [container[name]["grpc"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
        assert [probe["port"] for probe in probes] == [health_port] * 3
        assert [probe.get("service", "") for probe in probes] == [LIVENESS, "", LIVENESS]
        service = by_name[workload.name]
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["selector"].items() <= workload.pod_labels.items()
        assert {each["name"]: each["port"] for each in service["spec"]["ports"]} == {
            "grpc": port,
            "metrics": metrics_port,
        }


def test_addresses_name_services_and_their_ports(overlay: str) -> None:
    known = {
        f"{each['metadata']['name']}.vecsec.svc:{port['port']}"
        for each in of_kind(overlay, "Service")
        for port in each["spec"]["ports"]
    }
    for workload in services(overlay):
        environment = workload.environment
        for name in ("VECSEC_POLICY_ADDRESS", "VECSEC_RETRIEVAL_ADDRESS"):
            if name in environment:
                assert environment[name].removeprefix("dns:///") in known
                assert environment[name].startswith("dns:///"), "all replicas, not the first one"
        if "CHROMA_CONNECTION_STRING" in environment:
            assert environment["CHROMA_CONNECTION_STRING"].removeprefix("http://") in known


def once(name: str) -> Mapping[str, str]:
    """What is in an object that is made once."""
    manifest: Manifest = yaml.safe_load((KUBERNETES / "once" / f"{name}.yaml").read_text())
    kubernetes_validate.validate(dict(manifest), "1.37", strict=True)
    assert (manifest["kind"], manifest["metadata"]["name"]) == ("ConfigMap", f"vecsec-{name}")
    data: Mapping[str, str] = manifest["data"]
    return data


def test_no_apply_touches_what_operators_own(overlay: str) -> None:
    """The kill switch, and which shard has which tenant: kubectl, Argo CD and Flux would put back what they render."""
    assert not ONCE & {each["metadata"]["name"] for each in rendered(overlay)}
    assert "use_real_vector_retrieval" not in rendered_text(overlay)
    for workload in services(overlay):
        mounted = {each.get("configMap", {}).get("name") for each in workload.volumes.values()}
        assert ("vecsec-flags" in mounted) is (workload.component != "policy")
        assert "VECSEC_FLAG_FILE" not in workload.environment or workload.component != "policy"
    readme = (KUBERNETES / "README.md").read_text()
    for name in ONCE:
        assert f"kubectl create --filename once/{name.removeprefix('vecsec-')}.yaml" in readme


def test_the_index_of_violations_is_on_a_volume_of_the_pods_own(overlay: str) -> None:
    [policy] = [each for each in workloads(overlay) if each.component == "policy"]
    settings = PolicySettings.model_validate(policy.environment)
    volume_of = {Path(mount): policy.volumes[volume] for volume, mount in policy.mounts.items()}
    assert settings.violation_index_dir is not None
    claim = volume_of[settings.violation_index_dir]["claim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert policy.spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert settings.violation_index_dir != settings.audit_file.parent


def test_audit_logs_fit_into_their_volumes(overlay: str) -> None:
    [policy] = [each for each in services(overlay) if each.component == "policy"]
    kept = PolicySettings.model_validate(policy.environment).audit_log.bytes_kept
    assert kept is not None
    size = policy.volumes["audit"]["claim"]["spec"]["resources"]["requests"]["storage"]
    assert kept < parse_size(size.removesuffix("i"))
    assert policy.environment["VECSEC_REPLICA_ID"] == "metadata.name", "a pod goes on with the record of its name"


def test_gateways_share_limits_by_as_many_as_they_are(overlay: str) -> None:
    [gateway] = [each for each in services(overlay) if each.component == "gateway"]
    scalers = _scalers(overlay, gateway.name)
    fewest = scalers[0]["spec"]["minReplicas"] if scalers else gateway.manifest["spec"]["replicas"]
    assert GatewaySettings.model_validate(gateway.environment).replicas == fewest


def _scalers(overlay: str, name: str) -> list[Manifest]:
    scalers = of_kind(overlay, "HorizontalPodAutoscaler")
    return [each for each in scalers if each["spec"]["scaleTargetRef"]["name"] == name]


def test_files_that_settings_name_are_mounted_as_folders(overlay: str) -> None:
    config_maps = {each["metadata"]["name"]: each for each in of_kind(overlay, "ConfigMap")}
    for workload in workloads(overlay):
        assert set(workload.mounts) == set(workload.volumes)
        assert all("subPath" not in each for each in workload.container["volumeMounts"])
        for name, value in workload.environment.items():
            if not value.startswith("/"):
                continue
            folders = {mount: volume for volume, mount in workload.mounts.items() if value.startswith(mount)}
            assert folders, f"{workload.name}: {name}={value} is in no volume"
            mount, volume = max(folders.items())
            config_map = config_maps.get(workload.volumes[volume].get("configMap", {}).get("name", ""))
            if config_map is not None and value != mount:
                assert value.removeprefix(f"{mount}/") in config_map["data"]


def test_only_documented_objects_come_from_outside(overlay: str) -> None:
    made = {each["metadata"]["name"] for each in of_kind(overlay, "ConfigMap", "PersistentVolumeClaim")}
    made |= {
        f"{claim['metadata']['name']}-{each['metadata']['name']}-0"
        for each in of_kind(overlay, "StatefulSet")
        for claim in each["spec"].get("volumeClaimTemplates", [])
    }
    made |= {each["spec"]["secretName"] for each in of_kind(overlay, "Certificate")}
    named: set[str] = set()
    for workload in workloads(overlay):
        for volume in workload.volumes.values():
            named |= {volume[kind][key] for kind, key in _REFERENCES if kind in volume}
    shards = {"vecsec-placement"} if overlay == "prod-shards" else set()
    assert named - made == FROM_OUTSIDE | shards
    readme = (KUBERNETES / "README.md").read_text()
    assert all(name in readme for name in FROM_OUTSIDE)


def test_an_embedded_store_begins_where_somebody_says_so(overlay: str) -> None:
    (retrieval,) = (each for each in services(overlay) if each.component == "retrieval")
    begins = [each for each in retrieval.container["env"] if each["name"] == "VECSEC_NEW_STORE_UNTIL"]
    if "CHROMA_PATH" not in retrieval.environment:
        assert begins == []
        return
    reference = {"name": "vecsec-new-store", "key": "until", "optional": True}
    assert [each["valueFrom"] for each in begins] == [{"configMapKeyRef": reference}]
    assert "create configmap vecsec-new-store --from-literal=until=" in (KUBERNETES / "README.md").read_text()


_REFERENCES = (("configMap", "name"), ("secret", "secretName"), ("persistentVolumeClaim", "claimName"))


def test_a_pod_that_ends_has_time_to_finish_what_it_has_begun(overlay: str) -> None:
    for workload in services(overlay):
        before = workload.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        grace = float(workload.environment["VECSEC_SHUTDOWN_GRACE_SECONDS"])
        assert before >= 5, "clients look names up again within two seconds, and DNS is a few seconds behind"
        assert before + grace + 10 <= workload.pod["terminationGracePeriodSeconds"]
        if workload.component == "policy":
            assert workload.spec["updateStrategy"] == {"type": "RollingUpdate"}
            assert workload.spec["minReadySeconds"] >= 5
        if workload.component == "gateway":
            assert workload.spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def placement(overlay: str) -> Placement:
    """The shards that the services are told of."""
    assert overlay == "prod-shards"
    content = FileContent(content=once("placement")["placement.yaml"].encode())
    return parse_placement(content, Path("placement.yaml"))


def test_each_pod_of_retrieval_is_a_shard_and_the_gateway_knows_it_by_its_name(overlay: str) -> None:
    if overlay != "prod-shards":
        assert not [each for each in services(overlay) if "VECSEC_PLACEMENT_FILE" in each.environment]
        return
    shards = placement(overlay).shards
    (retrieval,) = (each for each in services(overlay) if each.component == "retrieval")
    assert retrieval.environment["VECSEC_SHARD"] == "metadata.name"
    assert [shard.name for shard in shards] == [f"{retrieval.name}-{number}" for number in range(len(shards))]
    (service,) = (each for each in of_kind(overlay, "Service") if each["metadata"]["name"] == retrieval.name)
    assert service["spec"]["publishNotReadyAddresses"], "they are asked before they are ready"
    (certificate,) = (each for each in of_kind(overlay, "Certificate") if each["metadata"]["name"] == retrieval.name)
    settings = RetrievalSettings.model_validate(retrieval.environment)
    for shard in shards:
        host, _, port = shard.address.removeprefix("dns:///").partition(":")
        assert host == f"{shard.name}.{retrieval.spec['serviceName']}.vecsec.svc"
        assert int(port) == settings.port
        assert f"*.{host.partition('.')[2]}" in certificate["spec"]["dnsNames"]
    assert settings.allowed_peers.may_call(certificate["spec"]["uris"], "DescribeShard")
    (gateway,) = (each for each in services(overlay) if each.component == "gateway")
    assert GatewaySettings.model_validate(gateway.environment).placement_file == settings.placement_file


def test_retrieval_is_a_single_writer(overlay: str) -> None:
    (retrieval,) = (each for each in services(overlay) if each.component == "retrieval")
    assert retrieval.spec["replicas"] == (len(placement(overlay).shards) if overlay == "prod-shards" else 1)
    is_deployment = retrieval.manifest["kind"] == "Deployment"
    assert not is_deployment or retrieval.spec["strategy"] == {"type": "Recreate"}
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in of_kind(overlay, "HorizontalPodAutoscaler")}
    assert scaled == (set() if overlay == "dev" else {"vecsec-gateway", "vecsec-policy"})
    for workload in services(overlay):
        assert ("replicas" in workload.spec) is (workload.name not in scaled)


def test_budgets_and_spreads_are_about_pods_that_exist(overlay: str) -> None:
    for budget in of_kind(overlay, "PodDisruptionBudget"):
        assert budget["spec"]["maxUnavailable"] == 1, "a drain passes"
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        selector = budget["spec"]["selector"]["matchLabels"].items()
        assert [each.name for each in workloads(overlay) if selector <= each.pod_labels.items()] == [
            budget["metadata"]["name"]
        ]
    for workload in workloads(overlay):
        for spread in workload.pod["topologySpreadConstraints"]:
            assert spread["labelSelector"]["matchLabels"].items() <= workload.pod_labels.items()
            assert set(spread["matchLabelKeys"]) <= set(workload.pod_labels)


def test_certificates_fit_the_addresses_and_the_allow_lists(overlay: str) -> None:
    certificates = {each["metadata"]["name"]: each["spec"] for each in of_kind(overlay, "Certificate")}
    if overlay == "dev":
        assert not certificates
        return
    assert certificates["vecsec-authority"]["privateKey"]["rotationPolicy"] == "Never", "a renewal must be no outage"
    for workload in services(overlay):
        assert certificates[workload.name]["secretName"] == workload.volumes["tls"]["secret"]["secretName"]
        assert certificates[workload.name]["uris"] == [f"spiffe://vecsec/{workload.component}"]
        settings = SETTINGS[workload.component].model_validate(workload.environment)
        assert settings.certificate_files() is not None
        if isinstance(settings, PolicySettings | RetrievalSettings):
            assert settings.allowed_peers.may_call(certificates["vecsec-gateway"]["uris"], "any")
            assert not settings.allowed_peers.may_call(certificates[workload.name]["uris"], "any")
        if isinstance(settings, GatewaySettings):
            for peer, address in (
                ("vecsec-policy", settings.policy_address),
                ("vecsec-retrieval", settings.retrieval_address),
            ):
                assert address.removeprefix("dns:///").partition(":")[0] in certificates[peer]["dnsNames"]


def test_the_config_maps_hold_what_the_services_accept(overlay: str, tmp_path: Path) -> None:
    config_maps = {each["metadata"]["name"]: each["data"] for each in of_kind(overlay, "ConfigMap")}
    parse_document(once("flags")["flags.json"].encode(), is_yaml=False)
    for name, content in config_maps["vecsec-policy"].items():
        (tmp_path / name).write_text(content)
    assert load_snapshot(tmp_path).version == load_snapshot(PolicySettings.model_fields["policy_dir"].default).version


def test_metrics_are_scraped_under_the_names_that_rules_go_by(overlay: str) -> None:
    monitors = list(of_kind(overlay, "ServiceMonitor"))
    assert len(monitors) == (overlay != "dev")
    for monitor in monitors:
        (endpoint,) = monitor["spec"]["endpoints"]
        (condition,) = monitor["spec"]["selector"]["matchExpressions"]
        for workload in services(overlay):
            assert workload.component in condition["values"]
            assert endpoint["port"] in workload.ports
        (relabelling,) = endpoint["relabelings"]
        assert relabelling == {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "instance"}
    rules = list(of_kind(overlay, "PrometheusRule"))
    for each in (*monitors, *rules):
        assert each["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert len(rules) == (overlay != "dev")
    groups = [group for each in rules for group in each["spec"]["groups"]]
    alerts = {rule.get("alert") for group in groups for rule in group["rules"]}
    assert overlay == "dev" or "CrossTenantViolation" in alerts


def test_dashboards_are_what_grafanas_sidecar_finds(overlay: str) -> None:
    boards = [
        each for each in of_kind(overlay, "ConfigMap") if each["metadata"].get("labels", {}).get("grafana_dashboard")
    ]
    files = {} if overlay == "dev" else {f"vecsec-{path.name}": path.read_text() for path in DASHBOARD_FILES}
    assert {name: text for each in boards for name, text in each["data"].items()} == files
    assert all(len(json.dumps(each)) < 200_000 for each in boards), "kubectl notes all of it in an annotation"


def _generate() -> Mapping[Path, str]:
    specification = importlib.util.spec_from_file_location("generate", KUBERNETES / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    files: Mapping[Path, str] = module.generated()
    return files


def test_generated_manifests_are_current(overlay: str) -> None:
    assert overlay
    for path, content in _generate().items():
        assert path.read_text() == content, "run: python deploy/kubernetes/generate.py"
