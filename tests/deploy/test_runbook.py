"""The runbook is true: its commands are run against the live services, with the fault injected that they are for."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from deploy.faults import FAULTS, NEED_A_SERVER, TENANT, commit_policy
from support.monitoring import DEPLOY, alerts
from support.runbook import STEPS, Block, Procedure, Runbook
from support.site import Site, add_prometheus, running_site
from support.waiting import wait_until

PATH = DEPLOY / "RUNBOOK.md"
RUNBOOK = Runbook.read(PATH)
PROCEDURES = RUNBOOK.procedures()
MORE_THAN_A_BATCH = 1_200
BLOCK_SECONDS = 240
SMALL_DISK = "size=300m"

OLD_COMMANDS = (
    """
docker ps|grep chroma|initialize_vector_store|test_vector_store_connection.py|vector retrieval failed|timeout|refused
vector_retrieval_failures_total|vector_retrieval_success_total|USE_REAL_VECTOR_RETRIEVAL=false|>> .env|sed -i
print(USE_REAL_VECTOR_RETRIEVAL)|systemctl restart vecsec|docker-compose restart vecsec-agent
echo $CHROMA_PATH|ls -la $CHROMA_PATH|docker-compose restart chromadb|df -h|free -h|ps aux|Using real vector store
histogram_quantile|watch|top -p|iostat|similarity_search|reindex|CHROMA_MEMORY_LIMIT=4G|mem_limit|grep -i cache
response caching
cross_tenant_violation|test_e2e_tenant_isolation|-k tenant|generate_retrieval_metadata_real|vecsec_rlsa_violations_total
grep prometheus|systemctl status prometheus|api/v1/targets|9091/metrics|grep grafana|systemctl status grafana
api/datasources|docker-compose restart prometheus|systemctl restart prometheus|/-/reload|metrics_exporter|dashboard.json
docker-compose restart grafana|Feature flag|ping|telnet|mkdir -p $CHROMA_PATH|chmod 755|rm -rf $CHROMA_PATH
echo $CHROMA_CONNECTION_STRING|chromadb.Client()|systemctl status vecsec|tail -f|test_e2e_validation.py
""".strip()
    .replace("\n", "|")
    .split("|")
)
"""What is distinct in each command of the runbook that this one replaces."""

live = [pytest.mark.prometheus, pytest.mark.jq, pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Operator:
    """Somebody with a shell at a site."""

    site: Site
    environment: Mapping[str, str]
    """What the runbook's setup exports, with the addresses and a token of this site."""

    @classmethod
    def at(cls, site: Site) -> "Operator":
        ports = site.ports.metrics
        metrics = {f"{name.upper()}_METRICS": f"http://127.0.0.1:{port}/metrics" for name, port in ports.items()}
        setup = {
            **metrics,
            "TENANT": TENANT,
            "CHROMA_PATH": str(site.state.chroma),
            "VECSEC_TOKEN": site.token(TENANT, "admin", "SECRET", "operator"),
            "VECSEC_CONF": str(site.units.environment_file),
            "BACKUPS": str(site.folder / "backups"),
            "PROMETHEUS": f"http://127.0.0.1:{site.ports.prometheus}",
            "PROMETHEUS_CONF": str(site.folder / "prometheus" / "prometheus.yml"),
        }
        return cls(site, {**setup, **site.environment})

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.commands],
            env=self.environment,
            cwd=self.site.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=BLOCK_SECONDS,
        )

    def must_run(self, block: Block) -> None:
        done = self.run(block)
        assert done.returncode == 0, f"line {block.line}:\n{block.commands}\n{done.stdout}\n{done.stderr}"

    def until_it_passes(self, block: Block) -> None:
        last: list[subprocess.CompletedProcess[str]] = []

        def passes() -> bool:
            last[:] = [self.run(block)]
            return last[0].returncode == 0

        wait_until(passes, lambda: f"line {block.line}:\n{block.commands}\n{last[0].stdout}\n{last[0].stderr}")

    def until_it_fails(self, block: Block) -> None:
        wait_until(
            lambda: self.run(block).returncode != 0,
            lambda: f"passes despite the fault, line {block.line}:\n{block.commands}",
        )


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", SMALL_DISK, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def embedded_operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("embedded")
    disk = folder / "disk"
    with ExitStack() as stack:
        if os.geteuid() == 0:
            stack.enter_context(small_disk(disk))
        site = stack.enter_context(running_site(folder, CHROMA_PATH=str(disk / "chroma")))
        add_prometheus(site)
        prepare(site)
        yield Operator.at(site)


@pytest.fixture(scope="module")
def server_operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with running_site(tmp_path_factory.mktemp("server"), remote_store=True) as site:
        add_prometheus(site)
        prepare(site)
        yield Operator.at(site)


def prepare(site: Site) -> None:
    row = {"text": "vector search ranks passages", "sensitivity": "PUBLIC", "topics": ["retrieval"]}
    site.import_rows(TENANT, [{"id": f"d{number}", **row} for number in range(MORE_THAN_A_BATCH)])
    backup = site.folder / "backups" / TENANT
    administrator = site.token(TENANT, "admin", "SECRET", "operator")
    site.run("tenant", "export", str(backup), "--tenant", TENANT, token=administrator)
    commit_policy(site, "As delivered")


def heal(site: Site) -> None:
    """Everything as it was, whatever the procedure left."""
    site.run("flag", "set", "on")
    for name in site.units.names():
        site.units.start(name)


@pytest.mark.parametrize("procedure", PROCEDURES, ids=str)
class TestProcedures:
    pytestmark = live

    def test_the_resolution_cures_the_fault(self, procedure: Procedure, request: pytest.FixtureRequest) -> None:
        fixture = "server_operator" if procedure.fault in NEED_A_SERVER else "embedded_operator"
        operator: Operator = request.getfixturevalue(fixture)
        if procedure.fault == "disk-full" and os.geteuid() != 0:
            pytest.skip("only root may mount a small disk")
        try:
            FAULTS[procedure.fault](operator.site)
            operator.until_it_fails(procedure.verification)
            for block in procedure.diagnosis:
                operator.must_run(block)
            operator.must_run(procedure.resolution)
            operator.until_it_passes(procedure.verification)
        finally:
            heal(operator.site)


@pytest.mark.parametrize("block", RUNBOOK.of_step("reference"), ids=lambda block: f"line {block.line}")
class TestReference:
    pytestmark = live

    def test_it_runs_where_all_is_well(self, block: Block, embedded_operator: Operator) -> None:
        embedded_operator.must_run(block)


def test_every_block_is_run() -> None:
    assert {block.step for block in RUNBOOK.blocks} <= STEPS
    used = {id(block) for each in PROCEDURES for block in (*each.diagnosis, each.resolution, each.verification)}
    for block in RUNBOOK.blocks:
        assert id(block) in used or block.step in {"setup", "reference"}, f"line {block.line} is never run"


def test_every_fault_has_a_procedure() -> None:
    assert {each.fault for each in PROCEDURES} == set(FAULTS)


def kubernetes_objects() -> set[tuple[str, str]]:
    """Kind, in small letters, and name of what deploy/kubernetes makes."""
    found = set[tuple[str, str]]()
    for path in (DEPLOY / "kubernetes").rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            found.add((document["kind"].lower(), document.get("metadata", {}).get("name", "")))
            found |= {("configmap", each["name"]) for each in document.get("configMapGenerator", [])}
    return found


def test_the_first_pages_name_what_there_is_on_each_platform() -> None:
    text = PATH.read_text()
    begin = text[text.index("## Before you begin") : text.index("## Vector retrieval failures")]
    kinds = {"deploy": "deployment"}
    named = set(re.findall(r"\b(deployment|deploy|statefulset)/([\w-]+)", begin))
    named |= {("configmap", name) for name in re.findall(r"configmap ([\w-]+)", begin)}
    named.discard(("deploy", "compose"))  # a folder
    assert len(named) > 3
    assert {(kinds.get(kind, kind), name) for kind, name in named} <= kubernetes_objects()
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    in_compose = set(re.findall(r"docker-compose (?:restart|logs|exec) ([\w-]+)", text))
    assert in_compose
    assert in_compose <= services.keys()
    units = {path.stem for path in (DEPLOY / "systemd").glob("*.service")}
    in_systemd = set(re.findall(r"(?:systemctl \w+|journalctl -u) (vecsec[\w-]*)", text))
    assert len(in_systemd) > 2
    assert in_systemd <= units | {"vecsec-"}, "or `vecsec-…`, for any"


def test_every_command_of_the_old_runbook_is_mapped() -> None:
    rows = [line.split(" | ") for line in PATH.read_text().partition("\n| old | now |\n")[2].splitlines()[1:]]
    assert all(len(row) == 2 for row in rows)
    old = "\n".join(row[0] for row in rows)
    assert [command for command in OLD_COMMANDS if command not in old] == []


def test_links_lead_somewhere() -> None:
    for link in RUNBOOK.links:
        file, _, fragment = link.partition("#")
        if not link.startswith("http"):
            target = DEPLOY / file if file else PATH
            assert target.exists(), link
            assert not fragment or Runbook.read(target).anchors.count(fragment) == 1, link


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_leads_to_its_section(alert: dict[str, dict[str, str]]) -> None:
    file, _, fragment = alert["annotations"]["runbook_url"].partition("#")
    assert DEPLOY.parent / file == PATH
    assert fragment in RUNBOOK.anchors
