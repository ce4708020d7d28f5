"""What the retrieval service measures. Label values are bounded: names of strategies and operations, never tenants."""

from collections.abc import Callable

from opentelemetry.metrics import Meter

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
        self.index_bytes = meter.create_gauge(
            "vecsec_index_bytes", unit="By", description="Memory of open cells and their in-memory indexes, estimated."
        )
        self._searches = LabelledCounter(
            meter, "vecsec_search_strategy", "Searches, by the strategy that answered them.", "strategy"
        )
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

        # Series that alerts look at are there from the start.
        self.damaged_cells.set(0)
        self._untagged_rows.add(0)
        self._snapshots.add(0, "torn")

    def watch_capacity(
        self,
        *,
        limit_bytes: int,
        rows_in_memory: Callable[[], int],
        calls_waiting: Callable[[], int],
        free_bytes: Callable[[], int] | None,
    ) -> None:
        """Show what there is room for; `free_bytes` is None where the store is on another machine."""
        observe_value(
            self._meter,
            "vecsec_memory_limit_bytes",
            "CHROMA_MEMORY_LIMIT: what the process, and vecsec_index_bytes as a part of it, is kept within.",
            lambda: limit_bytes,
        )
        observe_value(self._meter, "vecsec_hot_rows", "Rows that are searched in memory.", rows_in_memory)
        observe_value(
            self._meter,
            "vecsec_store_calls_waiting",
            "Calls to the vector store that wait for a thread, or are in one.",
            calls_waiting,
        )
        if free_bytes is not None:
            observe_value(self._meter, "vecsec_store_free_bytes", "Room on the disk of CHROMA_PATH.", free_bytes)

    def count_search(self, strategy: str, filtered_rows: int) -> None:
        """One search was answered."""
        self._searches.add(1, strategy)
        if filtered_rows:
            self._rows_filtered.add(filtered_rows)

    def count_untagged(self, rows: int) -> None:
        """Rows without whole tags turned up."""
        if rows:
            self._untagged_rows.add(rows)

    def count_snapshot(self, outcome: str) -> None:
        """A snapshot was "made", or found "torn"."""
        self._snapshots.add(1, outcome)

    def record_store_call(self, operation: str, seconds: float) -> None:
        """A call to the store took this long."""
        self._store_duration.add(seconds, operation)
