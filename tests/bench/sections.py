"""All sections of the benchmark, in the order in which they are measured: a module and a line each."""

from bench import (
    access_lists,
    before_the_token,
    cold_storm,
    curves,
    dear_calls,
    first_answers,
    floor,
    hidden_absent,
    import_rate,
    load,
    many_labels,
    many_tenants,
    overload,
    policy,
    reload,
    searches,
    security_cost,
    visible_shares,
)
from bench.findings import Section
from bench.quality import section as quality

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
    Section("access-lists", access_lists.measure),
    Section("hidden-absent", hidden_absent.measure),
    Section("dear-calls", dear_calls.measure),
    Section("before-the-token", before_the_token.measure),
    Section("overload", overload.measure),
    Section("quality", quality.measure),
)
