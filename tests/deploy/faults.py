"""What can go wrong, made to go wrong: each fault of the runbook by its name."""

import shutil
import signal
import sqlite3
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from support.site import Site
from support.waiting import wait_until

TENANT = "tenant_a"
KEPT_FREE_BYTES = 8 << 20
_DAMAGED = 9
"""The command line's exit status for it."""


def retrieval_killed(site: Site) -> None:
    site.units.signal("vecsec-retrieval", signal.SIGKILL)


def policy_killed(site: Site) -> None:
    site.units.signal("vecsec-policy", signal.SIGKILL)


def store_killed(site: Site) -> None:
    site.units.signal("chromadb", signal.SIGKILL)


def store_slow(site: Site) -> None:
    """It holds its connections and says nothing."""
    site.units.signal("chromadb", signal.SIGSTOP)


def disk_full(site: Site) -> None:
    """Something else fills the disk of CHROMA_PATH."""
    filler = Path(site.environment["CHROMA_PATH"]) / ".core.4711"
    with filler.open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(filler.parent).free - KEPT_FREE_BYTES)))


def flag_off(site: Site) -> None:
    site.run("flag", "set", "off")


def flag_file_broken(site: Site) -> None:
    site.run("flag", "set", "off")
    site.state.flags_file.write_text("{half a fi")


def wrong_policy(site: Site) -> None:
    """Somebody forbade everything, and committed it; legal Cedar."""
    (site.state.policy / "new.cedar").write_text('@id("close-everything")\nforbid (principal, action, resource);\n')
    commit_policy(site, "Close everything")


def policy_broken(site: Site) -> None:
    """Somebody committed half a rule."""
    (site.state.policy / "new.cedar").write_text("forbid (principal, ")
    commit_policy(site, "Half a rule")


def commit_policy(site: Site, message: str) -> None:
    """Policies are kept in git."""
    policy = site.state.policy
    for command in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", message)):
        subprocess.run(["git", *command], cwd=policy, env=site.environment, check=True)


def cell_damaged(site: Site) -> None:
    """A row of the log is not what was written; the others are. It is found out soon after the first search."""
    with _stopped(site) as database, closing(sqlite3.connect(database, isolation_level=None)) as connection:
        torn = "UPDATE embeddings_queue SET vector = zeroblob(length(vector)) WHERE id = 'd7'"
        assert connection.execute(torn).rowcount == 1
    token = site.token(TENANT, "admin", "SECRET")
    search = ("search", "x", "--tenant", TENANT)
    wait_until(lambda: site.run(*search, token=token, check=False).returncode == _DAMAGED)


def cell_destroyed(site: Site) -> None:
    """The database is garbage."""
    with _stopped(site) as database:
        database.write_bytes(b"\xff" * database.stat().st_size)


def cell_gone(site: Site) -> None:
    """The folder is not there any more."""
    with _stopped(site) as database:
        shutil.rmtree(database.parent)


@contextmanager
def _stopped(site: Site) -> Iterator[Path]:
    """The cell's database, while retrieval is stopped."""
    site.units.stop("vecsec-retrieval")
    yield Path(site.environment["CHROMA_PATH"]) / TENANT / "chroma.sqlite3"
    site.units.start("vecsec-retrieval")


def panicked(site: Site) -> None:
    """A leak was suspected, and everything was stopped."""
    site.run("panic", "--all")


def nothing(_site: Site) -> None:
    """Nothing is broken; somebody only fears or wants something."""


def prometheus_stopped(site: Site) -> None:
    site.units.stop("prometheus")


def targets_wrong(site: Site) -> None:
    """Prometheus looks for the gateway where it is not."""
    configuration = site.folder / "prometheus" / "prometheus.yml"
    (configuration.with_suffix(".good")).write_text(configuration.read_text())
    right, wrong = f"127.0.0.1:{site.ports.metrics['gateway']}", "127.0.0.1:1"
    configuration.write_text(configuration.read_text().replace(right, wrong))
    request = urllib.request.Request(f"http://127.0.0.1:{site.ports.prometheus}/-/reload", method="POST")
    with closing(urllib.request.urlopen(request)):
        pass


FAULTS: dict[str, Callable[[Site], None]] = {
    "retrieval-killed": retrieval_killed,
    "policy-killed": policy_killed,
    "store-killed": store_killed,
    "store-slow": store_slow,
    "disk-full": disk_full,
    "flag-off": flag_off,
    "flag-file-broken": flag_file_broken,
    "wrong-policy": wrong_policy,
    "policy-broken": policy_broken,
    "prometheus-stopped": prometheus_stopped,
    "targets-wrong": targets_wrong,
    "cell-damaged": cell_damaged,
    "cell-destroyed": cell_destroyed,
    "cell-gone": cell_gone,
    "leak-suspected": nothing,
    "panicked": panicked,
    "too-little-memory": nothing,
}
NEED_A_SERVER = frozenset({"store-killed", "store-slow"})
"""Faults of a ChromaDB server; all others are tried with the embedded store."""
