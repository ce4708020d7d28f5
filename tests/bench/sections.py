"""All sections of the benchmark, in the order in which they are measured: a module and a line each."""

from bench import curves, load, many_labels, policy, reload, searches, security_cost
from bench.findings import Section

SECTIONS: tuple[Section, ...] = (
    Section("latency", searches.measure, in_quick=True),
    Section("load", load.measure, in_quick=True),
    Section("security-cost", security_cost.measure, in_quick=True),
    Section("by-tenants", curves.by_tenants),
    Section("by-rows", curves.by_rows),
    Section("by-visible-share", curves.by_share),
    Section("policy", policy.measure),
    Section("reload", reload.measure),
    Section("many-labels", many_labels.measure),
)
