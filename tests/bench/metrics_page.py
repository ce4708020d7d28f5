"""What a service shows to Prometheus."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families


class MetricsPage:
    """The metrics of one service on this machine."""

    def __init__(self, port: int) -> None:
        self._uri = f"http://127.0.0.1:{port}/metrics"

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels; 0 where there are none."""
        with urllib.request.urlopen(self._uri, timeout=10) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
