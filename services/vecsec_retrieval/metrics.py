"""What the retrieval service measures. Label values are bounded: names of strategies and operations, never tenants."""

from collections.abc import Callable, Mapping

from opentelemetry.metrics import Meter, Observation

from vecsec_chassis.domain.search_mode import SearchMode
from vecsec_chassis.domain.tenant_limits import Limit
from vecsec_chassis.telemetry.metrics import DurationHistogram, LabelledCounter, observe_value


class RetrievalMetrics:
    """The service's instruments."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.store_up = meter.create_gauge(
            "vecsec_vector_store_up", description="Whether the vector store answers (1) or not (0)."
        )
        self.store_writable = meter.create_gauge(
            "vecsec_vector_store_writable",
            description="Whether it takes writes (1), or its disk is full or read-only (0). A server is not asked.",
        )
        self.open_cells = meter.create_gauge("vecsec_open_cells", description="Tenants' cells that are held open.")
        self.awake_cells = meter.create_gauge(
            "vecsec_awake_cells", description="Open cells for which ChromaDB is open; the others need it only to write."
        )
        self.damaged_cells = meter.create_gauge("vecsec_damaged_cells", description="Cells that could not be read.")
        self._closed_for_memory = LabelledCounter(
            meter, "vecsec_cells_closed_for_memory", "Cells that were closed because others needed their memory."
        )
        self.index_bytes = meter.create_gauge(
            "vecsec_index_bytes", unit="By", description="Memory of open cells and their in-memory indexes, estimated."
        )
        self._searches = LabelledCounter(
            meter, "vecsec_search_strategy", "Searches, by the strategy that answered them.", "strategy"
        )
        self._modes = LabelledCounter(
            meter, "vecsec_searches", "Searches, by what they found documents by: vector, text or hybrid.", "mode"
        )
        self._batched_queries = LabelledCounter(meter, "vecsec_batched_queries", "Queries that came in batches.")
        self._rows_filtered = LabelledCounter(
            meter, "vecsec_rows_filtered", "Rows left out of searches because their label is not visible."
        )
        self._untagged_rows = LabelledCounter(
            meter, "vecsec_untagged_rows", "Rows met in the store whose tags are missing or not the tenant's own."
        )
        self._snapshots = LabelledCounter(
            meter, "vecsec_snapshots", "Snapshots of collections, made or found torn and made again.", "outcome"
        )
        self._store_duration = DurationHistogram(
            meter, "vecsec_store_duration", "How long calls to the vector store took, by operation.", "operation"
        )

        self._foreign_calls = LabelledCounter(
            meter,
            "vecsec_foreign_calls",
            "Calls of other tenants' callers, by what became of telling the policy service: told or lost.",
            "outcome",
        )
        self._refusals = LabelledCounter(
            meter,
            "vecsec_tenant_limit_refusals",
            "Batches refused for a limit of their tenant, by limit; the log has the tenants.",
            "limit",
        )
        for limit in (Limit.ROWS, Limit.BYTES, Limit.IMPORT_ROWS_PER_SECOND):
            self._refusals.add(0, limit.value)

        # Series that alerts look at are there from the start.
        for outcome in ("told", "lost"):
            self._foreign_calls.add(0, outcome)
        self.damaged_cells.set(0)
        self._closed_for_memory.add(0)
        self._untagged_rows.add(0)
        self._snapshots.add(0, "torn")

    def watch_capacity(
        self,
        *,
        limit_bytes: int,
        available_bytes: int,
        rows_in_memory: Callable[[], int],
        calls_waiting: Callable[[], int],
        store_threads: int,
        free_bytes: Callable[[], int] | None,
    ) -> None:
        """Show what there is room for; `free_bytes` is None where the store is on another machine."""
        observe_value(
            self._meter,
            "vecsec_memory_limit_bytes",
            "CHROMA_MEMORY_LIMIT: what the process, and vecsec_index_bytes as a part of it, is kept within.",
            lambda: limit_bytes,
        )
        observe_value(
            self._meter,
            "vecsec_index_available_bytes",
            "What vecsec_index_bytes may be of it: cells are closed beyond that.",
            lambda: available_bytes,
        )
        observe_value(self._meter, "vecsec_hot_rows", "Rows that are searched in memory.", rows_in_memory)
        observe_value(
            self._meter,
            "vecsec_store_calls_waiting",
            "Calls to the vector store that wait for a thread, or are in one.",
            calls_waiting,
        )
        observe_value(
            self._meter,
            "vecsec_store_threads",
            "VECSEC_STORE_THREADS: how many calls to the vector store are at work at once, at most.",
            lambda: store_threads,
        )
        if free_bytes is not None:
            observe_value(self._meter, "vecsec_store_free_bytes", "Room on the disk of CHROMA_PATH.", free_bytes)

    def watch_shard(
        self, name: str, *, tenants: Callable[[], int], displaced: Callable[[], int], missing: Callable[[], int]
    ) -> None:
        """Show which shard it is, and how it stands among the others."""
        self._meter.create_gauge("vecsec_shard_info", description="Always 1, with the name of the shard.").set(
            1, {"shard": name}
        )
        observe_value(self._meter, "vecsec_shard_tenants", "Tenants whose cell is at this shard.", tenants)
        observe_value(
            self._meter,
            "vecsec_shard_displaced_tenants",
            "Those of them that the placement has at another shard; they are answered from here until they have moved.",
            displaced,
        )
        observe_value(
            self._meter,
            "vecsec_shard_words_missing",
            "Other shards that have not said what they hold; until they do, no new tenant begins here.",
            missing,
        )

    def count_search(self, strategy: str, mode: SearchMode, filtered_rows: int) -> None:
        """One search was answered."""
        self._searches.add(1, strategy)
        self._modes.add(1, mode.value)
        if filtered_rows:
            self._rows_filtered.add(filtered_rows)

    def count_batch(self, queries: int) -> None:
        """So many queries came in one call."""
        self._batched_queries.add(queries)

    def count_closed_for_memory(self) -> None:
        """A cell was closed because others needed its memory."""
        self._closed_for_memory.add(1)

    def count_untagged(self, rows: int) -> None:
        """Rows without whole tags turned up."""
        if rows:
            self._untagged_rows.add(rows)

    def count_refusal(self, limit: Limit) -> None:
        """A batch was refused for a limit of its tenant."""
        self._refusals.add(1, limit.value)

    def count_snapshot(self, outcome: str) -> None:
        """A snapshot was "made", or found "torn"."""
        self._snapshots.add(1, outcome)

    def watch_uses(self, *, waiting: Callable[[], int], oldest_seconds: Callable[[], float]) -> None:
        """Show what the policy service is still to be told of grants that cross tenants."""
        observe_value(
            self._meter,
            "vecsec_foreign_uses_waiting",
            "Uses of grants that cross tenants of which the policy service is still to be told.",
            waiting,
        )
        observe_value(
            self._meter,
            "vecsec_foreign_uses_oldest_seconds",
            "For how long the oldest of them has waited; 0 if none does.",
            oldest_seconds,
        )

    def count_told_calls(self, calls: int) -> None:
        """Calls of other tenants' callers are on record."""
        self._foreign_calls.add(calls, "told")

    def count_lost_calls(self, calls: int) -> None:
        """Calls of other tenants' callers are not on record, and will not be."""
        self._foreign_calls.add(calls, "lost")

    def watch_clocks(
        self, *, lead_seconds: Callable[[], float], late_seconds: Callable[[], float], refused: Mapping[str, int]
    ) -> None:
        """Show how far the policy service's clock is ahead of this one's, and which grants were refused for their time,
        of those that it had signed."""
        observe_value(
            self._meter,
            "vecsec_grant_clock_lead_seconds",
            "How far in the future, by this clock, the grant verified last was signed; beyond 15 it is refused.",
            lead_seconds,
        )
        observe_value(
            self._meter,
            "vecsec_grant_late_seconds",
            "For how long the grant that was refused last for its end had expired, by this clock; 0 if none was.",
            late_seconds,
        )
        self._meter.create_observable_counter(
            "vecsec_grants_refused_for_time",
            callbacks=[lambda _options: [Observation(count, {"cause": cause}) for cause, count in refused.items()]],
            description="Grants that the policy service signed and that did not hold by this clock: future or expired.",
        )

    def record_store_call(self, operation: str, seconds: float) -> None:
        """A call to the store took this long."""
        self._store_duration.add(seconds, operation)
