"""A caller who goes on asking: what alerts are about happens to callers, so one is there before, during and after."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vecsec_client import RetryPolicy, VecSecClient, VecSecError

PAUSE_SECONDS = 0.25
SECONDS_FOR_A_CALL = 3.0


class Traffic:
    """What callers got lately: `real`, `mock`, or the status of their error."""

    def __init__(self) -> None:
        self.got: deque[str] = deque(maxlen=5)

    def lately(self) -> set[str]:
        return set(self.got)

    def is_all(self, *outcomes: str) -> bool:
        """Whether the last calls ended like that alone."""
        return len(self.got) == self.got.maxlen and self.lately() <= set(outcomes)


@contextmanager
def traffic(address: str, token: str, tenant_id: str, root_certificates: Path | None = None) -> Iterator[Traffic]:
    """Some searches a second, one after another, by a caller who would rather have made-up rows than none."""
    seen, ends = Traffic(), threading.Event()

    def ask() -> None:
        with VecSecClient(
            address, token=token, retry_policy=RetryPolicy(attempts=1), root_certificates=root_certificates
        ) as client:
            while not ends.wait(PAUSE_SECONDS):
                try:
                    answer = client.search(
                        "passages", tenant=tenant_id, k=1, allow_mock=True, timeout=SECONDS_FOR_A_CALL
                    )
                    seen.got.append(answer.provenance.name.lower())
                except VecSecError as error:
                    seen.got.append(error.code.name)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        ends.set()
        asking.join()
