"""What the running policy service says of its policies to whoever may read its metrics: the operator of the machine."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_WAIT_SECONDS = 3.0
_SERIES = re.compile(r"(vecsec_policy_\w+)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class ServiceWord:
    """The metrics of one replica, read."""

    versions: Mapping[str, str]
    """By stage: current, candidate."""
    failing_parts: Sequence[str]
    """What changed and cannot be taken."""
    disagreements: Mapping[str, int]
    """Between candidate and current policy, such as `row lost`; only those that are not 0."""


def ask_metrics(url: str) -> ServiceWord | None:
    """Ask a running service; None if it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=_WAIT_SECONDS) as answer:  # noqa: S310 (our own http address)
            text = answer.read().decode()
    except (urllib.error.URLError, OSError, ValueError):
        return None
    series = list(_series(text))
    return ServiceWord(
        versions={labels["stage"]: labels["version"] for name, labels, _ in series if name == "vecsec_policy_info"},
        failing_parts=sorted(
            labels["part"] for name, labels, value in series if name == "vecsec_policy_reload_failing" and value > 0
        ),
        disagreements={
            f"{labels['kind']} {labels['change']}": int(value)
            for name, labels, value in series
            if name == "vecsec_policy_shadow_disagreements_total" and value > 0
        },
    )


def _series(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    for name, labels, value in _SERIES.findall(text):
        yield name, dict(_LABEL.findall(labels)), float(value)
