"""Looks at one service where it runs: in its environment, as its user, on its disks. `python - KIND < probe.py`.

It stands alone, for it is sent into containers: nothing but Python's own modules is there for it. It prints one JSON
document and changes nothing. What it tells is of no secret: sizes, names, public certificates, and complaints.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

METRICS_PORTS = {"gateway": "9091", "retrieval": "9092", "policy": "9093"}
CHECK_SECONDS = 60
METRICS_SECONDS = 5
MOST_BYTES = 1 << 20


def main(kind: str) -> None:
    """Print what there is to say of the service in whose place this runs."""
    report = {
        "user": os.geteuid(),
        "time": time.time(),
        "store": disk(store_folder()) if kind == "retrieval" else None,
        "audit": disk(audit_folder()) if kind == "policy" else None,
        "flag": text_of("VECSEC_FLAG_FILE"),
        "default": os.environ.get("USE_REAL_VECTOR_RETRIEVAL", "true"),
        "certificates": {name: text_of(name) for name in ("VECSEC_TLS_CERTIFICATE_FILE", "VECSEC_TLS_CA_FILE")},
        "complaints": complaints(kind),
        "metrics": metrics(kind),
    }
    print(json.dumps(report))


def store_folder() -> str | None:
    """Where the embedded store is; nothing where rows are on a server."""
    return None if os.environ.get("CHROMA_CONNECTION_STRING") else os.environ.get("CHROMA_PATH")


def audit_folder() -> str | None:
    """Where the audit log is."""
    file = os.environ.get("VECSEC_AUDIT_FILE")
    return str(Path(file).parent) if file else None


def disk(folder: str | None) -> dict[str, object] | None:
    """Room at a folder, and whether this user may write there."""
    if not folder:
        return None
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return {"path": folder, "problem": error.strerror, "free": 0}
    try:
        with tempfile.TemporaryFile(dir=folder):
            problem = None
    except OSError as error:
        problem = error.strerror
    return {"path": folder, "problem": problem, "free": free}


def text_of(setting: str) -> dict[str, object] | None:
    """What a file holds that a setting names, or why it cannot be read; nothing where none is named."""
    path = os.environ.get(setting)
    if not path:
        return None
    try:
        with Path(path).open("rb") as file:
            return {"path": path, "text": file.read(MOST_BYTES).decode("utf-8", "replace"), "problem": None}
    except OSError as error:
        return {"path": path, "text": "", "problem": error.strerror}


def complaints(kind: str) -> list[str]:
    """What would end the service's start, as it says itself."""
    module = f"vecsec_{kind}"
    try:
        done = subprocess.run(  # noqa: S603 (the service's own module)
            [sys.executable, "-P", "-m", module, "--check"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=CHECK_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return [f"{module} --check does not end; is a file on a disk or network that hangs?"]
    except OSError as error:
        return [f"{sys.executable}: {error.strerror}"]
    if done.returncode == 0:
        return []
    start = f"vecsec {kind}: "
    said = [line[len(start) :] for line in done.stderr.splitlines() if line.startswith(start)]
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return said or [f"{module} --check ended with status {done.returncode}: {last[:300]}"]


def metrics(kind: str) -> dict[str, object]:
    """The service's own metrics, or why they cannot be had."""
    port = os.environ.get(f"VECSEC_{kind.upper()}_METRICS_PORT") or METRICS_PORTS[kind]
    url = f"http://127.0.0.1:{port}/metrics"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=METRICS_SECONDS) as answer:
            lines = [line.decode("utf-8", "replace") for line in answer if line.startswith(b"vecsec_")]
    except (OSError, ValueError) as error:
        return {"url": url, "lines": [], "problem": str(getattr(error, "reason", error))}
    return {"url": url, "lines": lines, "problem": None}


if __name__ == "__main__":
    main(sys.argv[1])
