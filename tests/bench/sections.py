"""All sections of the benchmark, in the order in which they are measured: a module and a line each."""

from bench import (
    cold_storm,
    curves,
    first_answers,
    floor,
    import_rate,
    load,
    many_labels,
    many_tenants,
    policy,
    reload,
    searches,
    security_cost,
    visible_shares,
)
from bench.findings import Section

SECTIONS: tuple[Section, ...] = (
    Section("latency", searches.measure, in_quick=True),
    Section("load", load.measure, in_quick=True),
    Section("floor", floor.measure, in_quick=True),
    Section("security-cost", security_cost.measure, in_quick=True),
    Section("by-tenants", curves.by_tenants),
    Section("by-rows", curves.by_rows, in_quick=True),
    Section("by-visible-share", curves.by_share),
    Section("visible-shares", visible_shares.measure),
    Section("many-tenants", many_tenants.measure),
    Section("first-answers", first_answers.measure),
    Section("cold-storm", cold_storm.measure),
    Section("import", import_rate.measure),
    Section("policy", policy.measure),
    Section("reload", reload.measure),
    Section("many-labels", many_labels.measure),
)
