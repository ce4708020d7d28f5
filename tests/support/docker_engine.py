"""A Docker engine, a base image and the services' images, made from what Debian and PyPI have: no registry is needed.

`DOCKER_HOST`, or an engine at its usual place, is used if it answers; else, for root, one is started for the test run.
"""

import contextlib
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.waiting import COMMAND_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
BASE_IMAGE = "vecsec-test-base:bookworm"
"""Debian with its own Python, as mmdebstrap puts it together."""
IMAGES = ("gateway", "policy", "retrieval", "tools")
LOCKS = (*(f"images/requirements-{each}" for each in IMAGES[:3]), "development/requirements-services")
DOCKER = "/usr/bin/docker"
_ENGINE_OPTIONS = (
    "--ip",
    "127.0.0.1",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
)


def missing_engine() -> str | None:
    """Why there can be no engine here; None if there can."""
    programs = [DOCKER, "/usr/sbin/dockerd", "/usr/bin/mmdebstrap"]
    missing = [program for program in programs if not Path(program).exists()]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return None if os.geteuid() == 0 or _answers(None) else "no Docker engine answers, and only root can start one"


def docker(*arguments: str, host: str | None = None, stdin: bytes | None = None) -> str:
    """Run the docker client.

    Raises:
        RuntimeError: with what it complained of.
    """
    done = subprocess.run(
        [DOCKER, *arguments], capture_output=True, check=False, input=stdin, env=_environment(host), timeout=900
    )
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr.decode()[-3000:]}")
    return done.stdout.decode().strip()


def _environment(host: str | None) -> dict[str, str]:
    return os.environ | ({"DOCKER_HOST": host} if host else {}) | {"DOCKER_BUILDKIT": "1"}


def _answers(host: str | None) -> bool:
    command = [DOCKER, "info"]
    done = subprocess.run(command, capture_output=True, check=False, env=_environment(host), timeout=COMMAND_SECONDS)
    return done.returncode == 0


@contextlib.contextmanager
def running_engine() -> Iterator[str | None]:
    """The engine's address: None for the one that is there already."""
    if _answers(None):
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="vecsec-docker-"))
    host = f"unix://{folder}/docker.sock"
    places = ("--data-root", "data", "--exec-root", "exec", "--pidfile", "dockerd.pid")
    command = ["/usr/sbin/dockerd", "-H", host, *_ENGINE_OPTIONS]
    command += [str(folder / each) if number % 2 else each for number, each in enumerate(places)]
    with (folder / "log").open("wb") as log:
        engine = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def complaint() -> str:
            return f"dockerd did not come up: {(folder / 'log').read_text()[-2000:]}"

        wait_until(lambda: _answers(host) or engine.poll() is not None, complaint)
        assert engine.poll() is None, complaint()
        yield host
    finally:
        engine.terminate()
        engine.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def base_image(host: str | None, *, extra: Sequence[str] = ()) -> str:
    """A base image, made if the engine has it not; `extra` Debian packages make another one."""
    name = "-".join([BASE_IMAGE, *extra])
    with contextlib.suppress(RuntimeError):
        docker("image", "inspect", name, host=host)
        return name
    packages = ",".join(["python3-minimal", "python3-venv", "ca-certificates", *extra])
    temporary = "/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir()
    made = subprocess.run(
        ["/usr/bin/mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", "bookworm", "-"],
        capture_output=True,
        check=True,
        env=os.environ | {"TMPDIR": temporary},
        timeout=600,
    )
    docker("import", "-", name, host=host, stdin=made.stdout)
    return name


@functools.cache
def wheels() -> Path:
    """What the images install, fetched once for the base image's Python; kept in a cache between runs."""
    folder = Path(os.environ.get("VECSEC_TEST_WHEELS", ROOT / ".wheels"))
    for name in LOCKS:
        lock = ROOT / "deploy" / f"{name}.txt"
        done = folder / f"{lock.stem}-{_hash_of(lock)}"
        if done.exists():
            continue
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--python-version", "3.11", "--only-binary", ":all:", "--require-hashes", "--dest", str(folder)]
        subprocess.run([*command, "--requirement", str(lock)], check=True, capture_output=True, timeout=900)
        done.touch()
    return folder


def _hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def build_images(base: str, host: str | None) -> dict[str, str]:
    """Build the images as operators do, with packages from `wheels`; their names and tags by service."""
    with tempfile.TemporaryDirectory(prefix="vecsec-context-") as name:
        context = Path(name)
        clients = [f"clients/vecsec_{each}" for each in ("client", "cli", "workbench")]
        for part in ("deploy/images", "protos/gen", "services", *clients):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, context / part, ignore=ignored)
        for file in ("pyproject.toml", "deploy/development/requirements-services.txt"):
            (context / file).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / file, context / file)
        shutil.copytree(wheels(), context / "wheels", copy_function=os.link)
        told = {
            "DOCKER": DOCKER,
            "BASE_IMAGE": base,
            "PIP_ARGUMENTS": "--no-index --find-links /context/wheels",
            "VECSEC_VERSION": "test",
        }
        command = [str(context / "deploy/images/build")]
        done = subprocess.run(
            command, capture_output=True, check=False, text=True, env=_environment(host) | told, timeout=1200
        )
        if done.returncode:
            raise RuntimeError(f"deploy/images/build: {done.stderr[-3000:]}")
    return {image: f"vecsec-{image}:test" for image in IMAGES}
