"""Follows the hash chain of an audit log, line by line, and finds what does not belong. Knows lines, not files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vecsec_policy.audit import findings as audit_findings
from vecsec_policy.audit.chain import NO_HASH, START, Head, Link, link_of
from vecsec_policy.audit.findings import AuditFinding, AuditNote, LogPosition
from vecsec_policy.audit.log import EARLIER_LOG_SEALED, FILES_REMOVED, LOG_RESUMED, RECORDS_LOST

_MOST_HYPOTHESES = 4


@dataclass(frozen=True, slots=True)
class _Suspicion:
    """A finding that holds if a reading turns out right."""

    finding: AuditFinding
    out_of_place: Link | None = None
    """The genuine record that does not belong where it stands: it may be missing elsewhere."""
    missing: tuple[int, int, str] | None = None
    """The first and the last number that are missing, and the last one's hash."""


@dataclass(frozen=True, slots=True)
class _Hypothesis:
    """One way to read the log so far: it ends in this record. The next record tells which reading is right."""

    sequence: int
    hash: str | None
    """None if the record was altered: then nobody knows."""
    previous: str
    place: LogPosition | None
    suspicions: tuple[_Suspicion, ...] = ()

    def suspecting(self, *suspicions: _Suspicion) -> "_Hypothesis":
        return replace(self, suspicions=(*self.suspicions, *suspicions))


@dataclass(slots=True)
class _Gap:
    """Numbers without a record, until their records turn up elsewhere."""

    first: int
    last: int
    last_hash: str
    finding: AuditFinding
    found: set[int] = field(default_factory=set)

    def takes(self, link: Link) -> bool:
        is_missing = self.first <= link.sequence <= self.last and link.sequence not in self.found
        return is_missing and (link.sequence != self.last or link.hash == self.last_hash)


class ChainVerification:
    """Takes the lines of a log; what it found is there after `finish`."""

    def __init__(self, watched: Sequence[str] = ()) -> None:
        """`watched` are hashes of records to look out for."""
        self.findings: list[AuditFinding] = []
        self.notes: list[AuditNote] = []
        self.record_count = 0
        self.replica_id = ""
        self.removed_files: set[str] = set()
        """Names of files that the log itself says were removed because only so many are kept."""
        self.sealed_file: tuple[str, str] | None = None
        """Name and SHA-256 of the file from before records were chained."""
        self.hashes_seen: set[str] = set()
        """Those of the watched hashes that the log has."""
        self._watched = frozenset(watched)
        self._hypotheses = [_Hypothesis(START.sequence, NO_HASH, "", None)]
        self._no_records: list[tuple[LogPosition, bytes]] = []
        self._gaps: list[_Gap] = []
        self._out_of_place: dict[int, tuple[Link, AuditFinding]] = {}
        self._removals: set[tuple[int, str]] = set()

    @property
    def head(self) -> Head:
        """The newest record."""
        newest = self._hypotheses[-1]
        return Head(newest.sequence, newest.hash or "")

    def take(self, place: LogPosition, line: bytes) -> None:
        """The next line, with its end."""
        link = link_of(line)
        if link is None:
            self._no_records.append((place, line))
            return
        self.replica_id = self.replica_id or link.replica
        self._settle_no_records(link, line, place)
        if link.is_genuine and link.hash in self._watched:
            self.hashes_seen.add(link.hash)
        if not link.is_genuine:
            self._take_altered(link, place)
        elif (right := self._hypothesis_before(link)) is not None:
            self._commit(right)
            self._hypotheses = [_Hypothesis(link.sequence, link.hash, link.previous, place)]
            self.record_count += 1
            if link.kind not in ("decision", LOG_RESUMED):
                self._read_note(link, place, json.loads(line))
        else:
            self._take_out_of_order(link, place)
        if len(self._hypotheses) > _MOST_HYPOTHESES:
            self._commit(self._hypotheses[-1])
            self._hypotheses = [replace(self._hypotheses[-1], suspicions=())]

    def finish(self, anchor: str | None = None) -> None:
        """The log ends here; `anchor` is the hash of the record before its first, if its beginning was taken away."""
        self._commit(self._hypotheses[-1])
        self._finish_no_records()
        self._finish_moved()
        beginning = next((gap for gap in self._gaps if gap.first == 1 and not gap.found), None)
        if beginning is None:
            return
        if (beginning.last, beginning.last_hash) in self._removals:
            reason = "as the log itself says, the files before were removed because only so many are kept"
        elif anchor == beginning.last_hash:
            reason = "and follows the anchor that was given"
        else:
            return
        self.findings.remove(beginning.finding)
        self.notes.append(
            AuditNote(beginning.finding.place, f"the log begins with record {beginning.last + 1}, {reason}")
        )

    def _hypothesis_before(self, link: Link) -> _Hypothesis | None:
        return next(
            (
                hypothesis
                for hypothesis in self._hypotheses
                if hypothesis.sequence == link.sequence - 1 and hypothesis.hash in (None, link.previous)
            ),
            None,
        )

    def _take_altered(self, link: Link, place: LogPosition) -> None:
        """A line that has not its own hash: a record that was altered, or something that was put in."""
        newest = self._hypotheses[-1]
        expected = newest.sequence + 1
        self._hypotheses = [
            *(self._all_suspecting(_Suspicion(audit_findings.inserted(place, link.sequence)))),
            replace(newest, sequence=expected, hash=None, place=place, previous="").suspecting(
                _Suspicion(audit_findings.altered(place, expected))
            ),
        ]

    def _take_out_of_order(self, link: Link, place: LogPosition) -> None:
        """A genuine record that follows none of those before it."""
        newest = self._hypotheses[-1]
        stray = _Suspicion(audit_findings.inserted(place, link.sequence), out_of_place=link)
        mine = replace(newest, sequence=link.sequence, hash=link.hash, previous=link.previous, place=place)
        if link.sequence == newest.sequence + 1:
            before = newest.place or place
            broken = _Suspicion(audit_findings.rehashed(before, newest.sequence))
            self._hypotheses = [*self._all_suspecting(stray), mine.suspecting(broken)]
        elif link.sequence > newest.sequence:
            first, last = newest.sequence + 1, link.sequence - 1
            gap = _Suspicion(audit_findings.removed(place, first, last), missing=(first, last, link.previous))
            self._hypotheses = [*self._all_suspecting(stray), mine.suspecting(gap)]
        elif link.sequence == newest.sequence and link.previous == newest.previous and newest.hash != link.hash:
            twin = _Suspicion(audit_findings.inserted(newest.place or place, link.sequence))
            self._hypotheses = [*self._all_suspecting(stray), mine.suspecting(twin)]
        else:
            self._hypotheses = self._all_suspecting(stray)

    def _all_suspecting(self, suspicion: _Suspicion) -> list[_Hypothesis]:
        return [hypothesis.suspecting(suspicion) for hypothesis in self._hypotheses]

    def _commit(self, hypothesis: _Hypothesis) -> None:
        for suspicion in hypothesis.suspicions:
            if suspicion.missing is not None:
                self._add_gap(suspicion.finding, *suspicion.missing)
            elif suspicion.out_of_place is not None:
                self._add_out_of_place(suspicion.finding, suspicion.out_of_place)
            else:
                self.findings.append(suspicion.finding)

    def _add_out_of_place(self, finding: AuditFinding, link: Link) -> None:
        """A record does not belong where it stands; perhaps it is missing elsewhere."""
        gap = next((each for each in self._gaps if each.takes(link)), None)
        if gap is None:
            self.findings.append(finding)
            self._out_of_place[link.sequence] = (link, finding)
            return
        gap.found.add(link.sequence)
        self.findings.append(audit_findings.moved(_placed(finding), link.sequence))
        if len(gap.found) == gap.last - gap.first + 1:
            self.findings.remove(gap.finding)

    def _add_gap(self, finding: AuditFinding, first: int, last: int, last_hash: str) -> None:
        """Records are missing, unless they stood elsewhere before."""
        while last >= first and (known := self._out_of_place.get(last)) is not None and known[0].hash == last_hash:
            self._was_moved(last)
            last, last_hash = last - 1, known[0].previous
        if first > last:
            return
        finding = audit_findings.removed(_placed(finding), first, last)
        self.findings.append(finding)
        self._gaps.append(_Gap(first, last, last_hash, finding))

    def _finish_moved(self) -> None:
        """Records that belong behind the newest one stood elsewhere."""
        newest = self.head
        while (known := self._out_of_place.get(newest.sequence + 1)) and known[0].previous == newest.hash:
            newest = known[0].head
            self._was_moved(newest.sequence)

    def _was_moved(self, sequence: int) -> None:
        _, finding = self._out_of_place.pop(sequence)
        self.findings[self.findings.index(finding)] = audit_findings.moved(_placed(finding), sequence)

    def _settle_no_records(self, link: Link, line: bytes, place: LogPosition) -> None:
        """Lines that are no records may only be what a crash tore, which the next record then says."""
        lines, self._no_records = self._no_records, []
        if link.kind == LOG_RESUMED and link.is_genuine:
            torn_bytes = sum(len(each) for _, each in lines)
            if json.loads(line)["torn_bytes"] == torn_bytes:
                self.notes.append(AuditNote(place, f"before this record are {torn_bytes} bytes that a crash tore"))
            else:
                self.findings.append(audit_findings.torn_lines_gone(place, link.sequence))
            return
        newest = self._hypotheses[-1]
        if lines and link.sequence - newest.sequence - 1 == len(lines):
            # As many lines as records are missing: these are what is left of them.
            for where, _ in lines:
                newest = replace(newest, sequence=newest.sequence + 1, hash=None, place=where).suspecting(
                    _Suspicion(audit_findings.altered(where, newest.sequence + 1))
                )
            self._hypotheses.append(newest)
            return
        self.findings += [audit_findings.inserted(where, None) for where, _ in lines]

    def _finish_no_records(self) -> None:
        lines, self._no_records = self._no_records, []
        if len(lines) == 1 and not lines[0][1].endswith(b"\n"):
            self.notes.append(AuditNote(lines[0][0], f"the log ends in {len(lines[0][1])} bytes of a torn line"))
        else:
            self.findings += [audit_findings.inserted(place, None) for place, _ in lines]

    def _read_note(self, link: Link, place: LogPosition, fields: dict[str, Any]) -> None:
        if link.kind == FILES_REMOVED:
            self._removals.add((fields["through_sequence"], fields["through_hash"]))
            self.removed_files.update(fields["files"])
        elif link.kind == EARLIER_LOG_SEALED:
            self.sealed_file = (fields["file"], fields["sha256"])
        elif link.kind == RECORDS_LOST:
            self.notes.append(
                AuditNote(place, f"{fields['count']} records were lost: they could not be written in time")
            )


def _placed(finding: AuditFinding) -> LogPosition:
    assert finding.place is not None, "what is found in a line has its place"
    return finding.place
