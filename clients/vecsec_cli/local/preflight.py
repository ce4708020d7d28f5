"""What must be right before `vecsec up` starts anything; each refusal is one line that says what to do."""

import errno
import fcntl
import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vecsec_cli.local.service_settings import Service
from vecsec_cli.local.state_directory import StateDirectory
from vecsec_cli.terminal.exit_codes import ExitCode
from vecsec_cli.terminal.failures import INSTALL_SERVICES, CommandFailure

SMALLEST_SQLITE = (3, 35, 0)
"""ChromaDB needs its RETURNING clause."""
SMALLEST_PYTHON = (3, 11)
SMALLEST_FREE_BYTES = 64 << 20
"""Room to begin in: keys, logs, empty stores. What is there already is read on a full disk, too."""

SERVICE_MODULES = ("vecsec_policy", "vecsec_retrieval", "vecsec_gateway")
_OF_A_SERVICE = re.compile(r"""extra == ['"](chassis|gateway|policy|retrieval|services)['"]""")
_REQUIREMENT_NAME = re.compile(r"[A-Za-z0-9._-]+")


def missing_packages() -> list[str]:
    """What the services need and is not installed, by the requirements that VecSec's own package names."""
    missing = [name for name in SERVICE_MODULES if importlib.util.find_spec(name) is None]
    return missing + [name for name in _required_by_services() if not _is_installed(name)]


def python_problem() -> str:
    """What this Python lacks; empty if nothing."""
    if sys.version_info < SMALLEST_PYTHON:
        return f"Python {sys.version_info[0]}.{sys.version_info[1]} is too old; VecSec needs 3.11 or newer"
    try:
        import sqlite3  # noqa: PLC0415 (some Pythons are built without it, and this must say so)
    except ImportError:
        return "this Python was built without sqlite3; use one that has it, such as your distribution's"
    if sqlite3.sqlite_version_info < SMALLEST_SQLITE:
        return f"this Python's SQLite is {sqlite3.sqlite_version}; ChromaDB needs 3.35 or newer: use a newer Python"
    return ""


def _required_by_services() -> list[str]:
    try:
        requirements = importlib.metadata.requires("vecsec") or []
    except importlib.metadata.PackageNotFoundError:
        return []  # run from a source tree
    wanted = [each for each in requirements if _OF_A_SERVICE.search(each)]
    names = [match[0] for each in wanted if (match := _REQUIREMENT_NAME.match(each))]
    return [name for name in dict.fromkeys(names) if name != "vecsec"]  # extras name one another by our own name


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def check_installation() -> None:
    """Refuse a Python or an installation that cannot run the services.

    Raises:
        CommandFailure: in one line.
    """
    if problem := python_problem():
        raise CommandFailure(problem)
    if missing := missing_packages():
        raise CommandFailure(f"the services are not installed (missing: {', '.join(missing)})", hint=INSTALL_SERVICES)


def make_private_folder(folder: Path) -> None:
    """Make the state directory, readable by its owner only, and see that it can be written to.

    Raises:
        CommandFailure: if that is not so, or the disk is too full for a new one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(1 << 16))
            probe.flush()
            os.fsync(probe.fileno())
        is_new, free = not any(folder.iterdir()), shutil.disk_usage(folder).free
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _disk_is_full(folder) from error
        raise CommandFailure(
            f"cannot write to the state directory {folder}: {error.strerror}", hint="choose another with --state-dir"
        ) from error
    if is_new and free < SMALLEST_FREE_BYTES:
        raise _disk_is_full(folder, f": {free >> 20} MiB free, {SMALLEST_FREE_BYTES >> 20} MiB needed")


def _disk_is_full(folder: Path, figures: str = "") -> CommandFailure:
    return CommandFailure(
        f"the disk of {folder} is full{figures}",
        hint="free some room, or choose another disk with --state-dir",
        exit_code=ExitCode.LIMIT,
    )


@contextmanager
def exclusive(state: StateDirectory) -> Iterator[None]:
    """Hold the state directory for this process: a store is for one process.

    Raises:
        CommandFailure: if another `vecsec up` holds it.
    """
    with state.lock_file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise CommandFailure(
                f"another `vecsec up` (process {holder}) is running with the state directory {state.root}",
                hint="stop it, or choose another with --state-dir",
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def check_ports(services: Iterable[Service], address: str) -> None:
    """See that every port is free.

    Raises:
        CommandFailure: naming the first one that is not, and the option that changes it.
    """
    taken: dict[int, str] = {}
    for service in services:
        wanted = ((service.port, "", service.port_option), (service.metrics_port, " metrics", service.metrics_option))
        for port, kind, option in wanted:
            use = f"{service.name}{kind}"
            if port in taken:
                raise CommandFailure(f"port {port} is wanted for {taken[port]} and for {use}; change it with {option}")
            taken[port] = use
            if problem := _port_problem(address, port):
                raise CommandFailure(f"port {port} ({use}) {problem}; change it with {option}")


def _port_problem(address: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((address.strip("[]"), port))
        except OSError as error:
            busy = error.errno == errno.EADDRINUSE
            return "is busy: another program listens there" if busy else f"cannot be used: {error.strerror}"
        except OverflowError:
            return "is no port: 1 to 65535"
    return ""
