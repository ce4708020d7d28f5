"""Real Prometheus and Alertmanager watch the real services: panels have data, a killed retrieval reaches the pager."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from support.certificates import Authority
from support.monitoring import DASHBOARD_FILES, DEPLOY, MONITORING, ONLY_WITH_SHARDS, alerts, metrics_in, rules
from support.site import RANGE, Site, add_prometheus, running_site
from support.traffic import Traffic, traffic
from support.waiting import wait_until

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(900)]


QUERIES_OF_THE_OLD_RUNBOOK = (
    "rate(vecsec_vector_retrieval_failures_total[5m])",
    "rate(vecsec_vector_retrieval_success_total[5m])",
    "histogram_quantile(0.95, vecsec_vector_retrieval_duration_seconds_bucket)",
    'vecsec_rlsa_violations_total{violation_type="cross_tenant_violation"}',
)
CONNECTION_TEST = DEPLOY.parent / "scripts" / "test_vector_store_connection.py"


class Pager(HTTPServer):
    """Receives what Alertmanager sends."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), PagerHandler)
        self.messages: list[tuple[str, str, str]] = []
        """Receiver, alert and status."""


class PagerHandler(BaseHTTPRequestHandler):
    """One message."""

    server: Pager

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.messages += [
            (message["receiver"], alert["labels"]["alertname"], alert["status"]) for alert in message["alerts"]
        ]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def pager() -> Iterator[Pager]:
    with Pager() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, pager: Pager, authority: Authority) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("monitoring"), authority=authority) as running:
        add_prometheus(running, receiver=f"http://127.0.0.1:{pager.server_port}")
        exercise(running)
        yield running


def exercise(site: Site) -> None:
    """Everything that makes a metric appear."""
    rows = [
        {"id": each, "text": "vector search", "sensitivity": each, "topics": ["retrieval"]}
        for each in ("INTERNAL", "SECRET")
    ]
    site.import_rows("tenant_a", rows)
    token = site.token("tenant_a")
    for command in (
        ("search", "passages", "--tenant", "tenant_a"),
        ("get", "INTERNAL", "--tenant", "tenant_a"),
        ("collections", "--tenant", "tenant_a"),
    ):
        site.run(*command, token=token)
    assert site.run("search", "x", "--tenant", "tenant_b", token=token, check=False).returncode != 0
    site.run("tenant", "export", str(site.folder / "backup"), "--tenant", "tenant_a", token=admin(site))


def admin(site: Site) -> str:
    return site.token("tenant_a", "admin", "SECRET", "operator")


def dashboard_queries() -> dict[str, str]:
    """Every query of every panel, by where it stands."""
    found = {}
    for path in DASHBOARD_FILES:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                found[f"{path.stem}: {panel['title']}: {target['legendFormat']}"] = target["expr"]
    return found


def test_dashboards_are_what_their_description_makes() -> None:
    before = {path.name: path.read_text() for path in DASHBOARD_FILES}
    code = "import make_dashboards, json; print(json.dumps(make_dashboards.texts()))"
    made = subprocess.run([sys.executable, "-c", code], cwd=MONITORING, capture_output=True, text=True, check=True)
    assert json.loads(made.stdout) == before, "run python deploy/monitoring/make_dashboards.py"


def not_kept(written: Any, read: Any, place: str) -> Iterator[str]:
    """What stands in a dashboard and is lost or changed when Grafana's types have read it."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            yield from not_kept(value, read.get(key), f"{place}.{key}")
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for number, (before, after) in enumerate(zip(written, read, strict=True)):
            yield from not_kept(before, after, f"{place}[{number}]")
    elif written != read:
        yield place


def as_grafana_reads(dashboard: dict[str, Any]) -> Any:
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


@pytest.mark.parametrize("path", DASHBOARD_FILES, ids=lambda path: path.stem)
def test_dashboards_hold_nothing_that_grafanas_types_do_not_know(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert list(not_kept(dashboard, as_grafana_reads(dashboard), path.stem)) == []
    dashboard["panels"][0]["targets"][0]["exrp"] = "up"
    assert list(not_kept(dashboard, as_grafana_reads(dashboard), "")) == [".panels[0].targets[0].exrp"]


def test_every_metric_that_an_alert_or_panel_names_is_shown(site: Site) -> None:
    expressions = [*(rule["expr"] for rule in rules()), *dashboard_queries().values()]
    named = set[str]().union(*(metrics_in(each) for each in expressions))
    assert len(named) > 20
    assert named <= site.metrics() | ONLY_WITH_SHARDS


def test_every_panel_has_data(site: Site) -> None:
    missing = {
        place: query.replace("$__rate_interval", RANGE)
        for place, query in dashboard_queries().items()
        if not metrics_in(query) & ONLY_WITH_SHARDS
    }

    def all_found() -> bool:
        token = site.token("tenant_a")
        site.run("search", "passages", "--tenant", "tenant_a", token=token)
        for place in [place for place, query in missing.items() if site.query(query)]:
            del missing[place]
        return not missing

    wait_until(all_found, lambda: f"no data for {missing}")


@pytest.mark.parametrize("query", QUERIES_OF_THE_OLD_RUNBOOK)
def test_the_old_runbooks_queries_have_answers(site: Site, query: str) -> None:
    wait_until(lambda: site.query(query), lambda: f"no data for {query}")


def test_quantiles_are_of_rates_by_bucket() -> None:
    quantiles = [
        each for each in (*(rule["expr"] for rule in rules()), *dashboard_queries().values()) if "_quantile" in each
    ]
    assert quantiles
    for expression in quantiles:
        assert re.search(r"histogram_quantile\([\d.]+, sum by \(le[^)]*\) \(\s*rate\(", expression), expression


def firing(site: Site) -> set[str]:
    return {each["metric"]["alertname"] for each in site.query('ALERTS{alertstate="firing"}')}


def test_a_certificate_that_will_expire_is_noticed_and_its_renewal_too(site: Site, authority: Authority) -> None:
    authority.renew("policy", days=3)
    wait_until(lambda: "CertificateExpiry" in firing(site), lambda: firing(site))
    authority.renew("policy")
    wait_until(lambda: "CertificateExpiry" not in firing(site), lambda: firing(site))


def test_a_policy_that_is_not_in_force_is_noticed_and_its_repair_too(site: Site) -> None:
    broken = site.state.policy / "broken.cedar"
    broken.write_text("permit (")
    wait_until(lambda: "PolicyReloadFailed" in firing(site), lambda: firing(site))
    broken.unlink()
    wait_until(lambda: "PolicyReloadFailed" not in firing(site), lambda: firing(site))


def test_a_try_at_another_tenant_reaches_the_security_team(site: Site, pager: Pager) -> None:
    assert site.run("search", "x", "--tenant", "tenant_b", token=site.token("tenant_a"), check=False).returncode != 0
    wait_until(lambda: ("security", "CrossTenantViolation", "firing") in pager.messages, lambda: pager.messages)


def connection_test(site: Site, authority: Authority) -> tuple[int, str]:
    """Status and last line of the old runbook's command, where the services' settings are known."""
    tls = {name: str(value) for name, value in authority.settings("gateway").items()}
    done = subprocess.run(
        [sys.executable, str(CONNECTION_TEST)],
        cwd=site.folder,
        env={**site.environment, **tls},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()[-1]


@pytest.fixture(scope="module")
def asking(site: Site, authority: Authority) -> Iterator[Traffic]:
    """A caller of tenant_a, from now on."""
    address = f"localhost:{site.ports.grpc['gateway']}"
    with traffic(address, site.token("tenant_a"), "tenant_a", authority.ca_file) as seen:
        yield seen


def test_a_killed_retrieval_is_noticed_and_its_return_too(
    site: Site, pager: Pager, authority: Authority, asking: Traffic
) -> None:
    expected = {"VectorRetrievalFailure", "MockServed", "ServiceDown"}
    wait_until(lambda: not expected & firing(site), lambda: firing(site))  # of what other tests did
    wait_until(lambda: asking.is_all("real"), asking.lately)
    assert connection_test(site, authority) == (0, "Connected")
    pager.messages.clear()
    site.units.signal("vecsec-retrieval", signal.SIGKILL)
    wait_until(lambda: expected <= firing(site) and asking.is_all("mock"), lambda: (firing(site), asking.lately()))
    assert connection_test(site, authority) == (1, "Failed")
    assert "VectorStoreDown" not in firing(site)  # nothing is known of the store
    wait_until(lambda: ("pager", "ServiceDown", "firing") in pager.messages, lambda: pager.messages)
    site.units.start("vecsec-retrieval")
    wait_until(lambda: asking.is_all("real") and not expected & firing(site), lambda: firing(site))
    wait_until(lambda: ("pager", "ServiceDown", "resolved") in pager.messages, lambda: pager.messages)
    woken = {name for receiver, name, _ in pager.messages if receiver == "pager"}
    assert woken == {"ServiceDown"}  # one dead process, one page


def test_a_policy_that_denies_everybody_is_noticed_and_its_repair_too(site: Site, asking: Traffic) -> None:
    wait_until(lambda: asking.is_all("real"), asking.lately)
    denying = site.state.policy / "denies_all.cedar"
    denying.write_text('@id("denies_all")\nforbid (principal, action, resource);\n')
    wait_until(
        lambda: "EverybodyDenied" in firing(site) and asking.is_all("PERMISSION_DENIED"),
        lambda: (firing(site), asking.lately()),
    )
    denying.unlink()
    wait_until(lambda: asking.is_all("real") and "EverybodyDenied" not in firing(site), lambda: firing(site))


def test_prometheus_in_compose_differs_in_addresses_alone() -> None:
    import yaml

    def shape(path: Path) -> Any:
        configuration = yaml.safe_load(path.read_text())
        for job in configuration["scrape_configs"]:
            job["static_configs"] = [{"targets": ["somewhere"]}]
            job.pop("dns_sd_configs", None)  # further shards
        configuration["alerting"] = None
        return configuration

    assert shape(MONITORING / "prometheus.yml") == shape(MONITORING / "prometheus.compose.yml")


def test_every_alert_says_what_to_do() -> None:
    for alert in alerts():
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["labels"]["team"] in {"on-call", "security"}
