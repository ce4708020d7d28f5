"""A real Prometheus scrapes the three services and finds what operators and alerts rely on."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.installation import Installation, free_ports, running_installation
from support.parts import find_program
from support.waiting import wait_until

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(900)]

QUERIES = (
    "vecsec_vector_retrieval_success_total > 0",
    "vecsec_vector_retrieval_failures_total >= 0",
    "histogram_quantile(0.95, sum by (le) (vecsec_vector_retrieval_duration_seconds_bucket)) > 0",
    'vecsec_rlsa_violations_total{violation_type="cross_tenant_violation"} > 0',
    'vecsec_mock_fallback_total{reason="flag_off"} > 0',
    "vecsec_vector_store_up == 1",
    'vecsec_feature_flag{job="gateway"} >= 0',
    'vecsec_feature_flag{job="retrieval"} >= 0',
    'vecsec_requests_total{job="policy"} > 0',
    "vecsec_request_duration_seconds_count > 0",
    "vecsec_plan_check_divergence_total >= 0",
)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with running_installation(tmp_path_factory.mktemp("prometheus")) as running:
        row = {"id": "a", "text": "vector search ranks passages", "sensitivity": "INTERNAL", "topics": ["retrieval"]}
        running.import_rows("tenant_a", [row])
        token = running.token("tenant_a")
        running.search(token, "tenant_a", "passages")
        assert running.run("search", "x", "--tenant", "tenant_b", "--k", "1", token=token, check=False).returncode != 0
        running.run("flag", "set", "off")
        wait_until(
            lambda: (
                running.search(token, "tenant_a", "passages", 10, "--allow-mock")["provenance"] == "PROVENANCE_MOCK"
            ),
            lambda: "the flag was not seen",
        )
        yield running


@pytest.fixture(scope="module")
def prometheus(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prometheus-server")
    jobs = ("gateway", "retrieval", "policy")
    configuration = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{installation.metrics_port + offset}"]}]}
            for offset, job in enumerate(jobs)
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    [port] = free_ports(1)
    program = find_program("prometheus")
    assert program is not None
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with Path(folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def ask(address: str, query: str) -> list[object]:
    """What Prometheus answers; nothing while it does not answer."""
    try:
        with urllib.request.urlopen(f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}") as answer:
            found: list[object] = json.load(answer)["data"]["result"]
    except OSError:
        return []
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_prometheus_finds(prometheus: str, query: str) -> None:
    wait_until(lambda: ask(prometheus, query), lambda: f"no data for {query}")
