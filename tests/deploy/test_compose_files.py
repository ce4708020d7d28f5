"""deploy/compose, as far as docker-compose and the files tell: it fits the services, and nothing is left open."""

import json
import re
import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.compose import COMPOSE, Project, copied_project
from support.docker_engine import ROOT
from support.monitoring import MONITORING

from vecsec_chassis.placement.placement_file import load_placement
from vecsec_chassis.settings import ServiceSettings
from vecsec_gateway.settings import GatewaySettings
from vecsec_policy.settings import PolicySettings
from vecsec_retrieval.settings import RetrievalSettings

pytestmark = pytest.mark.compose

SETTINGS: dict[str, type[ServiceSettings]] = {
    "vecsec-agent": GatewaySettings,
    "policy": PolicySettings,
    "retrieval": RetrievalSettings,
}
IMAGES = {"vecsec-agent": "gateway", "policy": "policy", "retrieval": "retrieval"}
STORAGES = ("remote", "embedded", "shards")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    copied = copied_project(tmp_path_factory.mktemp("compose"))
    assert copied.prepare() == ""
    return copied


@pytest.fixture(scope="module", params=STORAGES)
def config(project: Project, request: pytest.FixtureRequest) -> dict[str, Any]:
    project.set(VECSEC_STORAGE=request.param)
    return project.config()


@pytest.fixture
def services(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = config["services"]
    return found


def test_the_storage_is_one_setting(project: Project) -> None:
    project.set(VECSEC_STORAGE="embedded")
    embedded = project.config()["services"]
    assert "chromadb" not in embedded
    assert embedded["retrieval"]["environment"]["CHROMA_PATH"].startswith("/var/lib/vecsec/")
    assert "CHROMA_CONNECTION_STRING" not in embedded["retrieval"]["environment"]
    project.set(VECSEC_STORAGE="remote")
    remote = project.config()["services"]
    assert remote["retrieval"]["environment"]["CHROMA_CONNECTION_STRING"] == "http://chromadb:8000"
    assert "CHROMA_PATH" not in remote["retrieval"]["environment"]
    assert remote["chromadb"]["entrypoint"][-3:-1] == ["8000", "--path"]


def test_two_shards_have_a_volume_each_and_one_placement(project: Project) -> None:
    project.set(VECSEC_STORAGE="embedded")
    before = project.config()["services"]
    assert "retrieval-1" not in before
    assert "VECSEC_PLACEMENT_FILE" not in before["vecsec-agent"]["environment"]
    project.set(VECSEC_STORAGE="shards")
    assert project.prepare() == ""
    services = project.config()["services"]
    placement = load_placement(COMPOSE / "storage" / "placement" / "placement.yaml")
    shards = {services[name]["environment"]["VECSEC_SHARD"]: name for name in ("retrieval", "retrieval-1")}
    assert {shard.name: shard.address for shard in placement.shards} == {
        shard: f"dns:///{name}:50052" for shard, name in shards.items()
    }
    volumes = {
        name: {each["source"] for each in services[name]["volumes"] if each["type"] == "volume"}
        for name in ("retrieval", "retrieval-1")
    }
    assert volumes == {"retrieval": {"cells"}, "retrieval-1": {"cells-1"}}
    for name in ("vecsec-agent", "retrieval", "retrieval-1"):
        (mount,) = (each for each in services[name]["volumes"] if each["target"] == "/etc/vecsec/placement")
        assert services[name]["environment"]["VECSEC_PLACEMENT_FILE"] == f"{mount['target']}/placement.yaml"
    RetrievalSettings.model_validate(
        {name: value for name, value in services["retrieval-1"]["environment"].items() if value is not None}
    )


@pytest.mark.parametrize("service", SETTINGS)
def test_settings_exist_and_are_taken(services: dict[str, dict[str, Any]], service: str) -> None:
    kind = SETTINGS[service]
    environment = {name: value for name, value in services[service]["environment"].items() if value is not None}
    assert set(services[service]["environment"]) <= {field.alias for field in kind.model_fields.values()}
    kind.model_validate(environment)


def test_env_drives_flag_and_memory(project: Project) -> None:
    project.set(VECSEC_STORAGE="remote", USE_REAL_VECTOR_RETRIEVAL="false", CHROMA_MEMORY_LIMIT="512M")
    services = project.config()["services"]
    for service in ("vecsec-agent", "retrieval"):
        assert services[service]["environment"]["USE_REAL_VECTOR_RETRIEVAL"] == "false"
    assert services["retrieval"]["environment"]["CHROMA_MEMORY_LIMIT"] == "512M"
    assert int(services["chromadb"]["mem_limit"]) == 512 << 20
    project.set(USE_REAL_VECTOR_RETRIEVAL="true", CHROMA_MEMORY_LIMIT="1G")


def test_images_are_those_of_the_dockerfile_and_never_pulled(services: dict[str, dict[str, Any]]) -> None:
    dockerfile = (ROOT / "deploy" / "images" / "Dockerfile").read_text()
    for service, target in IMAGES.items():
        assert services[service]["image"].startswith(f"vecsec-{target}:")
        assert f"FROM runtime AS {target}\n" in dockerfile
    assert services.get("chromadb", services["retrieval"])["image"] == services["retrieval"]["image"]
    for service in services.values():
        if service["image"].startswith("vecsec-"):
            assert service["pull_policy"] == "never"
        else:
            assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"]), "pinned"


def test_every_container_is_locked_in(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) > 0, name
        assert not service.keys() & {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"}, name
        if service["image"].startswith("vecsec-"):
            assert service["user"] == "65532:65532", name
            healthy_by_image = name != "chromadb"
            assert ("healthcheck" not in service) is healthy_by_image, "the images' own probe is asked"
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name


def test_mounts_exist_and_are_not_written_to(config: dict[str, Any]) -> None:
    for name, service in config["services"].items():
        for mount in service.get("volumes", []):
            if mount["type"] == "bind":
                assert Path(mount["source"]).exists(), name
                assert mount["read_only"], name
            else:
                assert mount["source"] in config["volumes"], name
    for each in (*config["configs"].values(), *config["secrets"].values()):
        assert Path(each["file"]).is_file()


def test_who_reaches_whom(config: dict[str, Any]) -> None:
    members: dict[str, set[str]] = {}
    for name, service in config["services"].items():
        for network in service["networks"]:
            members.setdefault(network, set()).add(name)
    assert members["store"] <= {"retrieval", "retrieval-1", "chromadb"}
    assert members["callers"] == {"vecsec-agent"}
    further = members["services"] - set(SETTINGS)
    assert further <= {"retrieval-1"}
    assert members["metrics"] == {*SETTINGS, *further, "prometheus"}
    assert members["operators"] == {"prometheus", "alertmanager", "grafana"}
    assert {name for name, each in config["networks"].items() if each.get("internal")} == {
        "services",
        "store",
        "metrics",
    }


def test_secrets_reach_those_who_need_them(services: dict[str, dict[str, Any]]) -> None:
    given = {name: {each["source"] for each in service.get("secrets", [])} for name, service in services.items()}
    assert {name: each for name, each in given.items() if each} == {
        "policy": {"grant.pem"},
        "grafana": {"grafana-admin-password"},
    }
    assert not [value for value in json.dumps(services).split('"') if "PRIVATE KEY" in value]


def test_prometheus_asks_the_services_where_they_answer(services: dict[str, dict[str, Any]]) -> None:
    configuration = yaml.safe_load((MONITORING / "prometheus.compose.yml").read_text())
    targets = {each["static_configs"][0]["targets"][0] for each in configuration["scrape_configs"]}
    ports = {name: kind.model_fields["metrics_port"].default for name, kind in SETTINGS.items()}
    assert targets == {f"{name}:{port}" for name, port in ports.items()}
    (manager,) = configuration["alerting"]["alertmanagers"]
    assert manager["static_configs"][0]["targets"] == ["alertmanager:9093"]
    assert services["alertmanager"]["ports"][0]["target"] == 9093


def test_the_gateways_metrics_are_where_the_old_runbook_asks_for_them(services: dict[str, dict[str, Any]]) -> None:
    published = {each["published"]: each["target"] for each in services["vecsec-agent"]["ports"]}
    assert published["9091"] == GatewaySettings.model_fields["metrics_port"].default
    assert {name for name, each in services.items() if name in SETTINGS and "ports" in each} == {"vecsec-agent"}


def test_from_the_root_compose_finds_the_same_services(project: Project) -> None:
    root = project.folder.parent.parent
    shutil.copy(ROOT / "compose.yaml", root)
    below = project.config()["services"]
    at_root = json.loads(project.compose_at_root("config", "--format", "json"))
    assert at_root["name"] == "vecsec"
    assert at_root["services"].keys() >= SETTINGS.keys()
    assert {name: below[name] for name in SETTINGS} == {name: at_root["services"][name] for name in SETTINGS}


def test_grafana_finds_prometheus_and_dashboards(services: dict[str, dict[str, Any]]) -> None:
    (source,) = yaml.safe_load((COMPOSE / "grafana" / "data-sources.yaml").read_text())["datasources"]
    assert source["url"] == f"http://prometheus:{services['prometheus']['ports'][0]['target']}"
    (provider,) = yaml.safe_load((COMPOSE / "grafana" / "dashboards.yaml").read_text())["providers"]
    mounted = {each["target"]: Path(each["source"]) for each in services["grafana"]["volumes"]}
    assert {path.name for path in mounted[provider["options"]["path"]].glob("*.json")} >= {"overview.json"}


def test_a_missing_env_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"required variable \w+ is missing a value: .*\.env\.example"):
        copied_project(tmp_path).config()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"VECSEC_STORAGE": "cloud"}, "VECSEC_STORAGE='cloud'"),
        ({"VECSEC_STORAGE": "remote", "COMPOSE_PROFILES": "embedded"}, "COMPOSE_PROFILES"),
        ({"COMPOSE_PROFILES": "remote,embedded"}, "COMPOSE_PROFILES"),
        ({"CHROMA_MEMORY_LIMIT": "much"}, "CHROMA_MEMORY_LIMIT='much'"),
        ({"CHROMA_MEMORY_LIMIT": "2G"}, "RETRIEVAL_CONTAINER_MEMORY=2G"),
    ],
)
def test_the_step_before_refuses_what_would_go_wrong(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    project = copied_project(tmp_path)
    assert project.prepare() == ""
    project.set(**settings)
    complaint = project.prepare()
    assert named in complaint
    assert "Traceback" not in complaint


def test_an_embedded_store_may_begin_for_a_day(tmp_path: Path) -> None:
    project = copied_project(tmp_path)
    assert project.prepare() == ""
    assert "VECSEC_NEW_STORE_UNTIL" not in project.config()["services"]["retrieval"]["environment"]
    project.set(VECSEC_STORAGE="embedded")
    assert project.prepare() == ""
    told = project.config()["services"]["retrieval"]["environment"]
    settings = RetrievalSettings.model_validate({name: value for name, value in told.items() if value is not None})
    assert settings.store_may_be_new
    assert settings.new_store_until is not None
    assert settings.new_store_until - datetime.now(UTC) <= timedelta(days=1)
    assert project.prepare() == ""
    assert project.config()["services"]["retrieval"]["environment"] == told, "no later leave without a word"


def test_the_step_before_may_be_repeated_and_lets_nobody_in(tmp_path: Path) -> None:
    project = copied_project(tmp_path)
    contents = []
    for _ in range(2):
        assert project.prepare() == ""
        files = {path: path.read_bytes() for path in project.state.rglob("*") if path.is_file()}
        contents.append(files | {path: path.read_bytes() for path in [project.folder / ".env"]})
    assert contents[0] == contents[1]
    assert stat.S_IMODE(project.state.stat().st_mode) == 0o700
    assert stat.S_IMODE((project.state / "keys" / "issuer.pem").stat().st_mode) == 0o600
    for part in ("flags", "rules", "secrets"):
        for path in (project.state / part, *(project.state / part).rglob("*")):
            assert path.stat().st_mode & stat.S_IROTH, "the containers' users are nobody's here"
    assert len((project.state / "secrets" / "grafana-admin-password").read_text()) >= 32


def test_no_secret_is_in_the_repository() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "deploy/compose"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.splitlines()
    assert "deploy/compose/compose.yaml" in listed
    assert not [path for path in listed if path.startswith("deploy/compose/state/") or path.endswith("/.env")]
    for private in ("deploy/compose/state/keys/grant.pem", "deploy/compose/.env"):
        subprocess.run(["git", "check-ignore", "--quiet", private], cwd=ROOT, check=True)
    text = "".join((ROOT / path).read_text() for path in listed)
    assert not re.search(r"PRIVATE KEY|(?i:password|token|secret|api_key)\s*[=:]\s*[\"']?[\w+/-]{6,}", text)
