"""An evidence bundle: a folder with what the audit log, the policy and the flag said, and a hash of each file.

It holds labels and ids, as the audit log does; never keys, tokens, content or vectors: files are written from what is
known to be free of them, none is copied because it lies there.
"""

import hashlib
import os
import platform
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_cli.local import state_files
from vecsec_cli.local.run_file import read_run_file
from vecsec_cli.terminal.failures import CommandFailure
from vecsec_policy.audit.foreign_use import FOREIGN_ACCESS
from vecsec_policy.audit.verification import verify_log
from vecsec_policy.folder.policy_source import POLICY_SUFFIXES
from vecsec_policy.in_force.snapshot import load_snapshot
from vecsec_workbench.audit.records import LoggedRecord, RecordFilter, audit_log, records
from vecsec_workbench.audit.verify import log_document
from vecsec_workbench.leak_response.installation_files import InstallationFiles

_PACKAGES = ("vecsec", "cedarpy", "chromadb", "grpcio", "joserfc", "protobuf")
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class EvidenceScope:
    """What the evidence is about."""

    tenants: Collection[str]
    """Empty for all."""
    since: datetime | None

    def filters(self) -> Iterator[RecordFilter]:
        """Which records are meant."""
        for tenant in sorted(self.tenants) or (None,):
            yield RecordFilter(tenant=tenant, since=self.since)


@dataclass
class _CallerTotals:
    """Who did what, in sums."""

    calls: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    violations: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    uses: set[str] = field(default_factory=set)
    """Incidents of uses that were counted: what was reported twice is in the log twice."""

    def add(self, record: LoggedRecord) -> None:
        fields = record.fields
        caller = (_text(record, "issuer"), _text(record, "subject"), _text(record, "caller_tenant_id"))
        if fields.get("kind") == FOREIGN_ACCESS and (incident := _text(record, "incident_id")) not in self.uses:
            self.uses.add(incident)
            self.calls[*caller, f"{_text(record, 'action')} at retrieval"] += int(fields["calls"])
        if fields.get("kind") != "decision":
            return
        self.calls[*caller, f"{_text(record, 'call')} {_text(record, 'outcome')}"] += 1
        for name, count in fields.get("violations", {}).items():
            self.violations[*caller, str(name)] += int(count)

    def document(self) -> dict[str, object]:
        def entries(counts: Counter[tuple[str, str, str, str]], what: str) -> list[dict[str, object]]:
            return [
                {"issuer": issuer, "subject": subject, "caller_tenant_id": tenant, what: name, "count": count}
                for (issuer, subject, tenant, name), count in counts.most_common()
            ]

        return {"violations": entries(self.violations, "type"), "calls": entries(self.calls, "call")}


class EvidenceFolder:
    """A folder that its owner alone can read, and in which no file is ever written over."""

    def __init__(self, path: Path) -> None:
        """Make the folder.

        Raises:
            OSError: if it is there already, or cannot be made.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        self.path = path
        self._files: list[dict[str, object]] = []

    def add(self, name: str, content: bytes) -> None:
        """Add a file.

        Raises:
            OSError: if it cannot be written.
        """
        self.add_lines(name, (content,))

    def add_lines(self, name: str, blocks: Iterable[bytes]) -> None:
        """Add a file, a block at a time.

        Raises:
            OSError: if it cannot be written.
        """
        target = self.path / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for block in blocks:
                file.write(block)
                digest.update(block)
                size += len(block)
            file.flush()
            os.fsync(descriptor)
        self._files.append({"file": name, "bytes": size, "sha256": digest.hexdigest()})

    def add_json(self, name: str, document: object) -> None:
        """Add a JSON document."""
        self.add(name, state_files.as_json(document))

    def finish(self, **about: object) -> str:
        """Write the manifest; its own hash, to be noted elsewhere."""
        entries = sorted(self._files, key=lambda entry: str(entry["file"]))
        self.add_json(_MANIFEST, {**about, "files": entries})
        return str(self._files[-1]["sha256"])


def collect(folder: EvidenceFolder, files: InstallationFiles, scope: EvidenceScope) -> tuple[int, Sequence[str]]:
    """Put everything into the folder that can be had; how many records, and what is lacking and why.

    Raises:
        OSError: if the folder cannot be written to.
    """
    lacking: list[str] = []
    counts: list[int] = []

    def part(name: str, gather: Callable[[], object]) -> None:
        try:
            gather()
        except (CommandFailure, ConfigurationError, FileNotFoundError, PermissionError, ValueError, KeyError) as error:
            lacking.append(f"{name}: {error}")

    part("audit records", lambda: counts.append(_add_records(folder, files, scope)))
    part("audit verification", lambda: _add_verification(folder, files))
    part("policy", lambda: _add_policy(folder, files))
    part("versions", lambda: folder.add_json("versions.json", _versions()))
    part("processes", lambda: _add_processes(folder, files))
    return sum(counts), lacking


def _text(record: LoggedRecord, name: str) -> str:
    return str(record.fields.get(name, ""))


def about(scope: EvidenceScope) -> dict[str, object]:
    """Who collected what, for the manifest."""
    return {
        "collected": datetime.now(UTC).isoformat(),
        "by": f"user {os.geteuid()} on {socket.gethostname()}",
        "tenants": sorted(scope.tenants) or "all",
        "since": None if scope.since is None else scope.since.isoformat(),
    }


def _add_records(folder: EvidenceFolder, files: InstallationFiles, scope: EvidenceScope) -> int:
    log = audit_log(files.audit, None)
    callers = _CallerTotals()
    count = 0

    def lines() -> Iterator[bytes]:
        nonlocal count
        seen: set[object] = set()
        for wanted in scope.filters():
            for record in records(log, wanted):
                key = (record.file, record.line)
                if key in seen:
                    continue  # one tenant's caller asked for another tenant of those that are meant
                if len(scope.tenants) > 1:
                    seen.add(key)
                count += 1
                callers.add(record)
                yield record.raw

    folder.add_lines("audit/records.jsonl", lines())
    folder.add_json("audit/callers.json", callers.document())
    return count


def _add_verification(folder: EvidenceFolder, files: InstallationFiles) -> None:
    verified = verify_log(audit_log(files.audit, None))
    folder.add_json("audit/verification.json", log_document(verified))
    if verified.findings:
        raise CommandFailure(f"the log is not whole: {len(verified.findings)} findings in audit/verification.json")


def _add_policy(folder: EvidenceFolder, files: InstallationFiles) -> None:
    for name, source in (("policy", files.policy), ("candidates", files.candidates)):
        for file in sorted(source.rglob("*")):
            relative = file.relative_to(source)
            if file.is_file() and file.suffix in POLICY_SUFFIXES and not relative.parts[0].startswith("."):
                folder.add(f"{name}/{relative}", file.read_bytes())
    if files.rollout.exists():
        folder.add("rollout.json", files.rollout.read_bytes())
    folder.add_json("policy.json", {"folder": str(files.policy), "version": load_snapshot(files.policy).version})


def _add_processes(folder: EvidenceFolder, files: InstallationFiles) -> None:
    run = read_run_file(files.state.run_file)
    if run is not None:
        folder.add_json("run.json", asdict(run))


def _versions() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
