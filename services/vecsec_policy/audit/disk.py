"""How much room the audit log takes and has, and when there will be none."""

import math
import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from vecsec_policy.audit.log_files import log_files

_LOOKED_BACK_SECONDS = 3600.0
_SAMPLE_SECONDS = 30.0
_LEAST_SECONDS = 120.0
"""What a shorter time says of the next hours is worth nothing."""
_SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class AuditDisk:
    """The disk of an audit log at one moment."""

    used_bytes: int
    """Of the files of this log."""
    free_bytes: int
    hours_until_full: float
    """If it goes on as in the last hour; infinite where it never will, or nobody can know yet."""


class GrowthRate:
    """How fast something grew lately, from what is noted of it now and then."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float, total: int) -> None:
        """So much there is now; `now` is in seconds of any clock that only goes forward."""
        if self._samples and now - self._samples[-1][0] < _SAMPLE_SECONDS:
            return
        self._samples.append((now, total))
        while now - self._samples[0][0] > _LOOKED_BACK_SECONDS:
            self._samples.popleft()

    def per_second(self, now: float) -> float:
        """How much a second; 0 while it was not looked at for long enough."""
        samples = tuple(self._samples)
        if not samples or now - samples[0][0] < _LEAST_SECONDS:
            return 0.0
        return (samples[-1][1] - samples[0][1]) / (now - samples[0][0])


def measured_disk(path: Path, bytes_kept: int | None, bytes_per_second: float) -> AuditDisk:
    """The disk of the log whose newest file is `path`, which may become `bytes_kept` large (None: grows for ever)."""
    used = 0
    for file in log_files(path):
        try:
            used += file.stat().st_size
        except FileNotFoundError:
            continue  # rotated or removed meanwhile
    free = shutil.disk_usage(path.parent).free
    return AuditDisk(used, free, hours_until_full(free, used, bytes_kept, bytes_per_second))


def hours_until_full(free_bytes: int, used_bytes: int, bytes_kept: int | None, bytes_per_second: float) -> float:
    """When the room ends; infinite where the log will not become so large, or does not grow."""
    if bytes_per_second <= 0 or (bytes_kept is not None and bytes_kept - used_bytes <= free_bytes):
        return math.inf
    return free_bytes / bytes_per_second / _SECONDS_AN_HOUR
