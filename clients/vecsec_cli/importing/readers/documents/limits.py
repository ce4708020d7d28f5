"""What a document may take."""

import resource
from contextlib import suppress

MAX_FILE_BYTES = 64 << 20
MAX_SECONDS = 120
"""Of a processor, for one file: how busy the machine is changes nothing."""
MAX_WAIT_SECONDS = 1200.0
"""For one file, however long it only waits."""
_MAX_MEMORY = 192 << 20


def limit_memory() -> None:
    """Bound what this process may hold; where the system knows no such limit (macOS), nothing happens."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (_MAX_MEMORY, _MAX_MEMORY))


def limit_time() -> None:
    """Bound the processor time from here on; what goes beyond ends the process by SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + MAX_SECONDS, most))
