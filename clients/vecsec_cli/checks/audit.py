"""The disk of the policy service's audit log: what it takes, what is left, and for how long that lasts."""

import math
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from vecsec_cli.checks.finding import CheckResult, fail, ok, warn
from vecsec_cli.checks.services import services
from vecsec_cli.local.state_directory import StateDirectory

_NAME = "audit's disk"
_NO_ROOM_BYTES = 1 << 20
COMFORTABLE_AUDIT_BYTES = 512 << 20
_COMFORTABLE_HOURS = 24.0
_WAIT_SECONDS = 3.0
_FORECAST = b"vecsec_audit_hours_until_full"
_REMEDY = "free some room, or let VECSEC_AUDIT_BYTES_KEPT keep less; `vecsec audit stats` says who makes the records"


def check_audit(state: StateDirectory, settings: Mapping[str, str]) -> Iterator[CheckResult]:
    """See how much room the audit log takes and has, and what the running service says of how long that lasts."""
    newest = Path(settings.get("VECSEC_AUDIT_FILE") or state.audit_file)
    if not newest.parent.is_dir():
        return  # nothing was ever recorded here; the policy service makes the folder
    free = shutil.disk_usage(newest.parent).free
    used = sum(file.stat().st_size for file in newest.parent.glob(f"{newest.stem}*{newest.suffix}"))
    hours = _hours_until_full(services(state, settings)["policy"].metrics_url)
    detail = f"{used / (1 << 20):,.1f} MiB of audit log, {free / (1 << 30):,.1f} GiB free at {newest.parent}"
    if free < _NO_ROOM_BYTES:
        yield fail(_NAME, f"{detail}: decisions are not recorded", _REMEDY)
    elif hours < _COMFORTABLE_HOURS:
        yield warn(_NAME, f"{detail}, full in {hours:.1f} hours if it goes on so", _REMEDY)
    elif free < COMFORTABLE_AUDIT_BYTES:
        yield warn(_NAME, detail, _REMEDY)
    else:
        yield ok(_NAME, detail)


def _hours_until_full(metrics_url: str) -> float:
    """What the policy service forecasts; infinite where it is not asked, or says that it never will be full."""
    try:
        with urllib.request.urlopen(metrics_url, timeout=_WAIT_SECONDS) as answer:  # noqa: S310 (our own http address)
            found = [float(line.split()[-1]) for line in answer if line.startswith(_FORECAST)]
    except (OSError, ValueError):
        return math.inf  # that it does not answer is a finding of its own
    return min(found, default=math.inf)
