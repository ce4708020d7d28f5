"""What a probe of a service says is wrong, and what to do about it there. Pure but for the clock that is handed in."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cryptography import x509

from vecsec_cli.checks.audit import COMFORTABLE_AUDIT_BYTES
from vecsec_cli.checks.certificates import expiry_finding
from vecsec_cli.checks.finding import CheckResult, CheckState, fail, ok, warn
from vecsec_cli.checks.metric_states import told_by_states
from vecsec_cli.checks.metrics import told_by_metrics
from vecsec_cli.checks.stacks.stack import ServicePlace
from vecsec_cli.checks.store import COMFORTABLE_STORE_BYTES, RESERVE_BYTES

_NO_ROOM_FOR_AUDIT_BYTES = 1 << 20
_TOLERATED_CLOCK_SECONDS = 5.0
_GIB = 1 << 30
_RENEW = {
    "VECSEC_TLS_CERTIFICATE_FILE": "renew it; no restart is needed",
    "VECSEC_TLS_CA_FILE": "issue a new authority, and let both be trusted for a while",
}


@dataclass(frozen=True, slots=True)
class Times:
    """This machine's clock, in Unix time, before and after a probe was made."""

    before: float
    after: float


def findings_of(place: ServicePlace, report: Mapping[str, Any], times: Times) -> Iterator[CheckResult]:
    """What there is to say of a service by its own report."""
    for each in _all_of(place, report, times):
        yield replace(each, check=f"{place.name}: {each.check}")


def _all_of(place: ServicePlace, report: Mapping[str, Any], times: Times) -> Iterator[CheckResult]:
    yield from _complaints(place, report)
    if report["store"] is not None:
        yield _disk("store's disk", report["store"], RESERVE_BYTES, COMFORTABLE_STORE_BYTES, "nothing can be stored")
    if report["audit"] is not None:
        low = COMFORTABLE_AUDIT_BYTES
        yield _disk("audit's disk", report["audit"], _NO_ROOM_FOR_AUDIT_BYTES, low, "decisions are not recorded")
    if place.kind != "policy":
        yield _flag(report["flag"], str(report["default"]))
    for setting, file in report["certificates"].items():
        if file is not None and not file["problem"]:
            yield from _certificate(setting, file)
    yield _clock(float(report["time"]), times)
    yield from _metrics(place, report["metrics"])


def _complaints(place: ServicePlace, report: Mapping[str, Any]) -> Iterator[CheckResult]:
    user = report["user"]
    for line in report["complaints"]:
        detail, _, remedy = str(line).rpartition("; ")
        said = f"{detail or line} (as its user, {user})"
        yield fail("settings and files", said, f"{remedy if detail else 'correct it'}; then {place.restart}")
    if not report["complaints"]:
        yield ok("settings and files", f"it could start with them, as its user ({user})")


def _disk(check: str, disk: Mapping[str, Any], least: int, comfortable: int, consequence: str) -> CheckResult:
    path, free = disk["path"], int(disk["free"])
    room = f"{free / _GIB:,.1f} GiB free at {path}"
    if disk["problem"]:
        return fail(check, f"{path}: {disk['problem']}, {consequence}", "mount it for writing by the service's user")
    if free < least:
        return fail(check, f"{room}: {consequence}", "free some room; no restart is needed")
    return warn(check, room, "free some room soon") if free < comfortable else ok(check, room)


def _flag(file: Mapping[str, Any] | None, default: str) -> CheckResult:
    if file is None:
        return ok("flag", f"USE_REAL_VECTOR_RETRIEVAL={default}, and no file (VECSEC_FLAG_FILE)")
    path = file["path"]
    if file["problem"]:
        return warn("flag", f"{path}: {file['problem']}", "a service that starts without it takes the flag for off")
    try:
        flag = json.loads(file["text"])["flags"].get("USE_REAL_VECTOR_RETRIEVAL")
    except (ValueError, KeyError, TypeError, AttributeError):
        return warn("flag", f"{path} is no flag file", "correct it; the last good value stays in force")
    if flag is None:
        return ok("flag", f"USE_REAL_VECTOR_RETRIEVAL={default}; {path} leaves it at that")
    variant = str(flag.get("defaultVariant"))
    detail = f"{variant} in {path}" + (", with exceptions" if flag.get("targeting") else "")
    return ok("flag", detail) if variant == "on" else warn("flag", detail, "`vecsec flag set on` ends made-up answers")


def _certificate(setting: str, file: Mapping[str, Any]) -> Iterator[CheckResult]:
    try:
        certificates = x509.load_pem_x509_certificates(str(file["text"]).encode())
    except ValueError:
        return  # the service complains of it itself
    yield expiry_finding(f"{setting}={file['path']}", certificates, _RENEW[setting])


def _clock(theirs: float, times: Times) -> CheckResult:
    """Between our two looks at our own clock, theirs was read."""
    off = min(theirs - times.before, 0.0) + max(theirs - times.after, 0.0)
    if abs(off) > _TOLERATED_CLOCK_SECONDS:
        return warn("clock", f"{off:+.0f} s beside this machine's", "synchronise the machines by NTP")
    return ok("clock", "agrees with this machine's")


def _metrics(place: ServicePlace, metrics: Mapping[str, Any]) -> Iterator[CheckResult]:
    if metrics["problem"]:
        yield fail("metrics", f"{metrics['url']}: {metrics['problem']}", place.logs)
        return
    lines = [str(line) for line in metrics["lines"]]
    yield ok("metrics", f"{metrics['url']}: {len(lines)} series of ours")
    for each in (*told_by_states(lines), *told_by_metrics(lines)):
        is_well = each.state is CheckState.OK
        yield each if is_well else replace(each, remedy=f"{each.remedy}; its log: {place.logs}")
