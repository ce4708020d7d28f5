"""`vecsec doctor` beside systemd, Compose and Kubernetes: what these say is scripted, the probe is the real one, with
the services' own checks on real files. The real engines: tests/deploy."""

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.new_store import ANY_TIME

from vecsec_cli.checks.finding import CheckResult, CheckState
from vecsec_cli.checks.foreign_gateway import is_of_another_stack
from vecsec_cli.checks.metric_states import told_by_states
from vecsec_cli.checks.stacks import looking
from vecsec_cli.checks.stacks.choice import StackKind, chosen_stack
from vecsec_cli.checks.stacks.compose import Compose
from vecsec_cli.checks.stacks.kubernetes import Kubernetes
from vecsec_cli.checks.stacks.looking import check_stack
from vecsec_cli.checks.stacks.probed import Times, findings_of
from vecsec_cli.checks.stacks.stack import KINDS, Command, Done, ServicePlace, run_program
from vecsec_cli.checks.stacks.systemd import Systemd
from vecsec_cli.local import installation
from vecsec_cli.local.service_settings import service_environment, services_of
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.failures import CommandFailure


@dataclass
class Engine:
    """Says what it is told to say, and runs the probe in a service's environment."""

    says: dict[str, str | Callable[[], Done]] = field(default_factory=dict)
    """What commands print, by words that stand in them."""
    environments: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """In which the probe of a place is run, by a word of its command."""
    calls: list[list[str]] = field(default_factory=list)

    def run(self, command: Command, text: str) -> Done:
        typed = " ".join(command.arguments)
        self.calls.append(list(command.arguments))
        if text:
            [environment] = [value for word, value in self.environments.items() if f" {word} " in typed]
            done = subprocess.run(
                [sys.executable, "-P", *command.arguments[-2:]],
                input=text,
                env={"PATH": os.environ["PATH"], **environment, **(command.environment or {})},
                capture_output=True,
                text=True,
                check=False,
            )
            return Done(done.returncode, done.stdout, done.stderr)
        for words, answer in self.says.items():
            if words in typed:
                return Done(0, answer, "") if isinstance(answer, str) else answer()
        return Done(1, "", f"unexpected: {typed}")

    def findings(self, stack: Compose | Kubernetes | Systemd) -> dict[str, CheckResult]:
        return {each.check: each for each in check_stack(stack, self.run)}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What services are told that could start."""
    state = StateDirectory(tmp_path_factory.mktemp("state"))
    installation.prepare(state, {})
    settings = {
        **{f"VECSEC_{name}_METRICS_PORT": "9" for name in ("GATEWAY", "RETRIEVAL", "POLICY")},
        "VECSEC_NEW_STORE_UNTIL": ANY_TIME.isoformat(),
    }
    return service_environment(settings, state, services_of(settings))


def container(service: str, state: str = "running", health: str = "healthy", status: int = 0) -> str:
    return json.dumps({"Service": service, "State": state, "Health": health, "ExitCode": status})


def test_compose_services_are_looked_at_in_their_containers(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.touch()
    running = [container("vecsec-agent"), container("policy"), container("retrieval", health="unhealthy")]
    engine = Engine(
        says={
            "config --services": "policy\nvecsec-agent\nretrieval\nchromadb\nprometheus\n",
            "ps --all": "\n".join([*running, container("chromadb", "exited", "", 137)]),
        },
        environments={
            "vecsec-agent": environment,
            "policy": {**environment, "VECSEC_GRANT_KEY_FILE": str(tmp_path / "nothing.pem")},
            "retrieval": {**environment, "CHROMA_PATH": str(tmp_path / "unmounted")},
        },
    )
    found = engine.findings(Compose(file))
    typed = f"docker compose --file {file}"
    assert found["stack"].detail == f"Compose project of {file}"
    assert found["chromadb"].detail == "exited, status 137"
    assert found["chromadb"].remedy.endswith(f"{typed} start chromadb")
    assert (found["prometheus"].state, found["prometheus"].remedy) == (CheckState.FAIL, "make up")
    assert found["retrieval"].detail == "running, but does not serve"
    assert found["vecsec-agent: settings and files"].state is CheckState.OK
    wrong = found["policy: settings and files"]
    assert f"{tmp_path}/nothing.pem" in wrong.detail
    assert wrong.remedy.endswith(f"then {typed} restart policy")
    assert "unmounted" in found["retrieval: store's disk"].detail
    assert found["retrieval: store's disk"].state is CheckState.FAIL
    assert found["policy: audit's disk"].detail.endswith(f"free at {Path(environment['VECSEC_AUDIT_FILE']).parent}")
    assert found["policy: metrics"].remedy == f"{typed} logs --tail 50 policy"
    assert found["vecsec-agent: clock"].state is CheckState.OK
    assert found["vecsec-agent: flag"].state is CheckState.OK


def test_containers_that_have_ended_hide_none_that_runs() -> None:
    once = json.dumps({"Service": "chromadb", "Name": "vecsec-chromadb-run-3f", "State": "running", "ExitCode": 0})
    listing = "\n".join([container("prometheus"), container("prometheus", "exited", "", 1), once])
    engine = Engine(says={"config --services": "prometheus\nchromadb\n", "ps --all": listing})
    found = engine.findings(Compose(Path("/compose.yaml")))
    assert found["prometheus"].detail == "running and healthy"
    assert found["chromadb"].detail == "there is no container of it"


def pod(name: str, kind: str, state: Mapping[str, object], *, ready: bool, owner: str) -> dict[str, object]:
    return {
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/component": kind, "app.kubernetes.io/part-of": "vecsec"},
            "ownerReferences": [{"kind": owner}],
        },
        "spec": {"nodeName": "node-1"},
        "status": {
            "phase": "Running",
            "containerStatuses": [{"ready": ready, "restartCount": 0, "state": state}],
        },
    }


def test_pods_are_looked_at_in_the_namespace_that_is_named(environment: dict[str, str]) -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}
    pods = [
        pod("vecsec-gateway-a", "gateway", {"running": {}}, ready=True, owner="ReplicaSet"),
        pod("vecsec-policy-a", "policy", waiting, ready=False, owner="ReplicaSet"),
        pod("vecsec-backup-1", "backup", {"terminated": {"exitCode": 0}}, ready=False, owner="Job"),
    ]
    pods[-1]["status"] = {"phase": "Succeeded"}
    engine = Engine(
        says={"config current-context": "production\n", "get pods": json.dumps({"items": pods})},
        environments={"vecsec-gateway-a": environment},
    )
    found = engine.findings(Kubernetes.current("eu", engine.run))
    assert found["stack"].detail == "Kubernetes namespace eu of context production"
    assert found["vecsec-gateway-a"].detail == "ready on node-1"
    assert found["vecsec-gateway-a: settings and files"].state is CheckState.OK
    assert found["vecsec-policy-a"].detail == "CrashLoopBackOff back-off 5m0s"
    assert found["vecsec-policy-a"].remedy.endswith("logs --tail=50 vecsec-policy-a --previous")
    assert found["retrieval"].detail == "there is no pod of it"
    asked = engine.calls[1:]
    assert all(call[:3] == ["kubectl", "--context=production", "--namespace=eu"] for call in asked)
    assert "--selector=app.kubernetes.io/part-of=vecsec,app.kubernetes.io/component" in asked[0]
    assert not any("backup" in name for name in found)


def test_no_cluster_is_said_in_one_line() -> None:
    engine = Engine(says={"current-context": lambda: Done(1, "", "error: current-context is not set\n")})
    with pytest.raises(CommandFailure, match="current-context is not set"):
        chosen_stack(StackKind.KUBERNETES, StateDirectory(Path("/nowhere")), None, "vecsec", engine.run)


def test_units_are_looked_at_as_their_user_with_their_environment(environment: dict[str, str]) -> None:
    active = "LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=42\nExecMainStatus=0\n"
    failed = "LoadState=loaded\nActiveState=failed\nSubState=failed\nMainPID=0\nExecMainStatus=78\n"
    entries = {**environment, "CHROMA_API_KEY": "s3cret"}
    engine = Engine(
        says={
            "journalctl _SYSTEMD_UNIT=vecsec-retrieval.service": "vecsec retrieval: CHROMA_PATH=… holds no store\n",
            "vecsec-gateway.service": active,
            "vecsec-retrieval.service": failed,
            "vecsec-policy.service": "LoadState=not-found\nActiveState=inactive\n",
            "/proc/42/environ": "\0".join(f"{name}={value}" for name, value in entries.items()),
            "/proc/42/status": "Uid:\t61\t62\t63\t64\nGid:\t71\t72\t73\t74\nGroups:\t900 901 \n",
            "/proc/42/cmdline": "/opt/vecsec/bin/python\0-P\0-m\0vecsec_gateway\0",
        },
        environments={"42": {}},
    )
    found = engine.findings(Systemd())
    [probe] = [call for call in engine.calls if call[0] == sys.executable]
    assert probe[1:3] == ["-I", "-c"]
    assert probe[4:] == ["42", "62", "72", "900,901", "/opt/vecsec/bin/python", "-P", "-", "gateway"]
    assert not any("s3cret" in argument for call in engine.calls for argument in call)
    assert found["vecsec-gateway: settings and files"].state is CheckState.OK
    assert "holds no store" in found["vecsec-retrieval"].detail
    assert found["vecsec-retrieval"].remedy == "correct it, then systemctl restart vecsec-retrieval"
    assert found["vecsec-policy"].detail == "there is no such unit"


NOBODY = 65_534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that any user may enter; those of pytest are their owner's alone."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone enters the namespaces of others")
def test_nothing_that_a_captured_service_says_of_itself_is_run_by_root(open_folder: Path) -> None:
    """What `/proc` has of a process's environment is that process's to write, and so is a namespace that it makes."""
    seen = open_folder / "seen"
    seen.mkdir()
    seen.chmod(0o777)
    program = open_folder / "program"
    program.write_text(f"#!/bin/sh\ntouch {seen}/$(/usr/bin/id -u)-$(/usr/bin/basename $0)\nexit 1\n")
    program.chmod(0o755)
    for name in ("nsenter", "setpriv", "python", "sh", "env"):
        (open_folder / name).symlink_to(program)
    hostile = {
        "PATH": str(open_folder),
        "PYTHONPATH": str(open_folder),
        "PYTHONSTARTUP": str(program),
        "BAD": "\udcff'\n",
    }
    (open_folder / "json.py").write_text(f"import os\nopen(f'{seen}/{{os.geteuid()}}-json', 'w')\nraise SystemExit\n")
    service = subprocess.Popen(
        [open_folder / "python", "30"],
        executable="/usr/bin/sleep",
        env=hostile,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        start_new_session=True,
    )
    unit = f"LoadState=loaded\nActiveState=active\nSubState=running\nMainPID={service.pid}\n"

    def run(command: Command, text: str) -> Done:
        return Done(0, unit, "") if command.arguments[0] == "systemctl" else run_program(command, text)

    try:
        found = list(check_stack(Systemd(), run))
    finally:
        service.kill()
        service.wait()
    assert {each.name for each in seen.iterdir()} == {f"{NOBODY}-python"}  # its own program, as its own user
    assert [each.check for each in found if each.state is CheckState.FAIL] == [f"vecsec-{kind}" for kind in KINDS]


def test_the_environment_that_a_probe_is_sent_is_whole() -> None:
    sent = {"A": "b c", "QUOTE": "'\"\\\n", "RAW": "\udcff", "WIDE": "ö€"}
    script = looking._setting(sent) + "import sys\nsys.stdout.write(ascii(dict(os.environ)))\n"
    done = run_program(Command([sys.executable, "-P", "-"], {}), script)
    assert ast.literal_eval(done.output) == sent


def test_one_unit_that_cannot_be_looked_into_hides_no_other() -> None:
    up = "LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=42\nExecMainStatus=0\n"
    engine = Engine(
        says={
            "journalctl _SYSTEMD_UNIT=vecsec-gateway.service -n 1": "boom\n",
            "vecsec-gateway.service": "LoadState=loaded\nActiveState=failed\nSubState=failed\nExecMainStatus=1\n",
            "systemctl show": up,
            "/proc/42": lambda: Done(1, "", "cat: /proc/42/environ: Permission denied"),
        }
    )
    found = list(check_stack(Systemd(), engine.run))
    assert "its last line: boom" in next(each.detail for each in found if each.check == "vecsec-gateway")
    for unit in ("vecsec-retrieval", "vecsec-policy"):
        active, unreadable = (each for each in found if each.check == unit)
        assert active.state is CheckState.OK
        assert "Permission denied" in unreadable.detail
        assert unreadable.remedy == "run it as root: sudo /opt/vecsec/bin/vecsec doctor --stack systemd"


def test_the_state_directory_says_which_stack_it_is(tmp_path: Path) -> None:
    def run(command: Command, _text: str) -> Done:
        assert command.arguments == ["docker", "compose", "version"], "nothing else is asked to find that out"
        return Done(0, "Docker Compose version v2\n", "")

    auto = StackKind.AUTO
    assert isinstance(chosen_stack(auto, StateDirectory(Path("/etc/vecsec")), None, "", run), Systemd)
    (tmp_path / "compose.yaml").touch()
    (tmp_path / "state").mkdir()
    compose = chosen_stack(auto, StateDirectory(tmp_path / "state"), None, "", run)
    assert compose == Compose(tmp_path / "compose.yaml")
    assert chosen_stack(auto, StateDirectory(tmp_path), None, "", run) is None
    with pytest.raises(CommandFailure, match="is not there"):
        chosen_stack(StackKind.COMPOSE, StateDirectory(tmp_path / "elsewhere" / "state"), None, "", run)


NO_PLUGIN = "docker: unknown command: docker compose\n\nRun 'docker --help' for more information\n"


def test_a_compose_that_is_no_plugin_is_used_and_typed(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.touch()
    engine = Engine(
        says={
            "docker compose version": lambda: Done(1, "", NO_PLUGIN),
            "docker-compose version": "Docker Compose version 2.26.1-4\n",
            "config --services": "prometheus\n",
            "ps --all": container("prometheus", "exited", "", 1),
        }
    )
    stack = chosen_stack(StackKind.COMPOSE, StateDirectory(tmp_path), file, "", engine.run)
    assert isinstance(stack, Compose)
    found = engine.findings(stack)
    assert f"docker-compose --file {file} start prometheus" in found["prometheus"].remedy
    assert all(call[0] == "docker-compose" for call in engine.calls[1:])


def test_without_compose_what_docker_says_first_is_told(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.touch()
    engine = Engine(says={"compose version": lambda: Done(125, "", NO_PLUGIN)})
    with pytest.raises(CommandFailure, match=r"unknown command: docker compose; .*docker-compose"):
        chosen_stack(StackKind.AUTO, StateDirectory(tmp_path), file, "", engine.run)
    noise = 'time="now" level=warning msg="GRAFANA is not set"\nno configuration file provided\nSee --help\n'
    engine = Engine(says={"config --services": lambda: Done(14, "", noise)})
    assert engine.findings(Compose(file))["stack"].detail.endswith("`: no configuration file provided")


def test_two_stacks_at_once_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    with pytest.raises(CommandFailure, match="--stack systemd"):
        chosen_stack(StackKind.SYSTEMD, StateDirectory(tmp_path), file, "", Engine().run)


def test_a_gateway_at_another_port_is_of_another_stack(tmp_path: Path) -> None:
    ports = [{"target": 9091, "published": "9191"}, {"target": 50051, "published": "50151"}]
    project = json.dumps({"services": {"vecsec-agent": {"ports": ports}}})
    compose = Engine(says={"config --format json": project})
    assert Compose(tmp_path / "compose.yaml").gateway_port(compose.run) == 50151
    assert Compose(tmp_path / "compose.yaml").gateway_port(Engine().run) is None
    unit = "ActiveState=active\nMainPID=42\n"
    assert Systemd().gateway_port(Engine(says={"show": unit, "/42/": "A=1\0"}).run) == 50051
    assert Systemd().gateway_port(Engine(says={"show": unit, "/42/": "VECSEC_GATEWAY_PORT=7\0"}).run) == 7
    assert Systemd().gateway_port(Engine(says={"show": unit}).run) is None
    for named, is_other in (("localhost:50151", False), ("dns:///127.0.0.1:50051", True), ("far:50151", True)):
        assert is_of_another_stack({"VECSEC_GATEWAY": named}, 50151) is is_other
    assert not is_of_another_stack({"VECSEC_GATEWAY": "localhost:1"}, None)
    assert not is_of_another_stack({}, 50151)


def test_what_a_probe_tells_becomes_findings() -> None:
    place = ServicePlace("pod", "retrieval", Command(["python"]), "restart it", "its log")
    disk = {"path": "/var/lib/vecsec", "problem": None, "free": 1 << 20}
    flag = {"path": "/flags.json", "problem": None, "text": '{"flags": {"USE_REAL_VECTOR_RETRIEVAL": {}}}'}
    lines = ["vecsec_damaged_cells 2.0\n", "vecsec_vector_store_up 1.0\n", "vecsec_store_free_bytes 5.0\n"]
    report = {
        "user": 65532,
        "time": 1_000.0,
        "store": disk,
        "audit": None,
        "flag": flag,
        "default": "true",
        "certificates": {"VECSEC_TLS_CA_FILE": {"path": "/ca.crt", "problem": None, "text": "half"}},
        "complaints": [],
        "metrics": {"url": "http://127.0.0.1:9092/metrics", "lines": lines, "problem": None},
    }
    found = {each.check: each for each in findings_of(place, report, Times(1_021.0, 1_022.0))}
    assert found["pod: store's disk"].state is CheckState.FAIL
    assert found["pod: clock"].detail == "-21 s beside this machine's"
    assert found["pod: flag"].state is CheckState.WARN
    assert found["pod: cells"].detail == "2 cannot be read; other tenants are not affected"
    assert found["pod: cells"].remedy.endswith("its log: its log")


def test_metrics_say_which_part_is_wrong_and_of_whom() -> None:
    lines = [
        'vecsec_issuer_keys{issuer="https://a.test"} 0.0',
        'vecsec_shard_serving{shard=""} 0.0',
        "vecsec_circuits_open 0.0",
        "vecsec_audit_hours_until_full 3.5",
    ]
    found = {each.check: each.detail for each in told_by_states(lines)}
    assert found == {
        "issuers": 'no keys of one (issuer="https://a.test"): its callers are told UNAVAILABLE',
        "retrieval, as the gateway sees it": 'does not serve (shard="")',
        "audit log": "its disk is full in 3.5 hours",
    }
