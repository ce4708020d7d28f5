"""`vecsec audit stats`: what is in the log, in numbers."""

from collections import Counter
from dataclasses import dataclass, field

from vecsec_cli.options import JsonOption, StateDirectoryOption
from vecsec_cli.terminal import output
from vecsec_cli.terminal.text import plain
from vecsec_cli.terminal.time_options import SinceOption, UntilOption, parse_time
from vecsec_workbench.audit.records import FileOption, LoggedRecord, RecordFilter, audit_log, records


@dataclass(slots=True)
class LogStatistics:
    """Sums over records."""

    record_count: int = 0
    first: str = ""
    last: str = ""
    kinds: Counter[str] = field(default_factory=Counter)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By call and outcome."""
    violations: Counter[str] = field(default_factory=Counter)
    tenants: Counter[str] = field(default_factory=Counter)
    """By the tenant that was asked for."""
    callers: set[tuple[str, str]] = field(default_factory=set)
    policy_versions: Counter[str] = field(default_factory=Counter)
    rows_allowed: int = 0
    rows_withheld: int = 0

    def add(self, record: LoggedRecord) -> None:
        """Count a record."""
        fields = record.fields
        self.record_count += 1
        self.first = self.first or fields["time"]
        self.last = fields["time"]
        self.kinds[fields.get("kind", "unchained")] += 1
        if fields.get("kind") != "decision":
            return
        self.calls[fields["call"], fields["outcome"]] += 1
        self.violations.update(fields["violations"])
        self.tenants[fields["tenant_id"]] += 1
        self.callers.add((fields["issuer"], fields["subject"]))
        self.policy_versions[fields["policy_version"]] += 1
        self.rows_allowed += fields["allowed_count"]
        self.rows_withheld += fields["withheld_count"]

    def document(self) -> dict[str, object]:
        """As JSON."""
        return {
            "record_count": self.record_count,
            "first": self.first or None,
            "last": self.last or None,
            "kinds": dict(self.kinds),
            "calls": [
                {"call": call, "outcome": outcome, "count": count}
                for (call, outcome), count in self.calls.most_common()
            ],
            "violations": dict(self.violations.most_common()),
            "tenants": dict(self.tenants.most_common()),
            "caller_count": len(self.callers),
            "policy_versions": dict(self.policy_versions.most_common()),
            "rows_allowed": self.rows_allowed,
            "rows_withheld": self.rows_withheld,
        }


def stats(
    *,
    file: FileOption = None,
    state_dir: StateDirectoryOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    json: JsonOption = False,
) -> None:
    """Count what is in the log: calls by outcome, violations by type, rows, tenants, callers, policies."""
    statistics = LogStatistics()
    wanted = RecordFilter(since=parse_time(since, "--since"), until=parse_time(until, "--until"))
    for record in records(audit_log(file, state_dir), wanted):
        statistics.add(record)
    if json:
        output.print_json(statistics.document())
        return
    rows: list[tuple[str, ...]] = [
        ("calls", f"{call} {outcome}", f"{count:,}") for (call, outcome), count in statistics.calls.most_common()
    ]
    for name, counts in (
        ("violations", statistics.violations),
        ("tenants asked for", statistics.tenants),
        ("policies", statistics.policy_versions),
        ("kinds of records", statistics.kinds),
    ):
        rows += [(), *((name, key, f"{count:,}") for key, count in counts.most_common())]
    rows += [
        (),
        ("rows", "allowed", f"{statistics.rows_allowed:,}"),
        ("rows", "withheld", f"{statistics.rows_withheld:,}"),
        ("callers", "", f"{len(statistics.callers):,}"),
    ]
    output.print_table("what", "which", output.right("count"), rows=rows)
    window = f", {statistics.first} to {statistics.last}" if statistics.first else ""
    output.say(plain(f"{statistics.record_count:,} records{window}", "dim"))
