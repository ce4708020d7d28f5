"""How a trial's outcome reaches the service: in pieces, since the interpreter is held while one is read."""

import io
import pickle
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, TypeAlias

from vecsec_policy.snapshot import CheckedPolicy

Outcome: TypeAlias = CheckedPolicy | str
"""What was checked, or the complaint."""

_IN_A_PIECE = (25, 150, 10)
"""So many rules, tenants and plans: all three are read in about 2 ms."""
_PAUSE_SECONDS = 0.002


def written(outcome: Outcome) -> bytes:
    """The outcome, to be sent."""
    return b"".join(map(pickle.dumps, _pieces(outcome)))


def read(output: bytes) -> Outcome:
    """What `written` wrote. Pauses between pieces, so it belongs into a thread of its own."""
    stream = io.BytesIO(output)
    outcome: Outcome = pickle.load(stream)  # noqa: S301 (our own process wrote it)
    if isinstance(outcome, str):
        return outcome
    while stream.tell() < len(output):
        time.sleep(_PAUSE_SECONDS)
        for whole, piece in zip(_parts(outcome), pickle.load(stream), strict=True):  # noqa: S301 (as above)
            whole.update(piece)
    return outcome


def _pieces(outcome: Outcome) -> Iterator[object]:
    if isinstance(outcome, str):
        yield outcome
        return
    yield replace(outcome, rules=replace(outcome.rules, rules={}), tenants={}, plans={})
    parts = [iter(part.items()) for part in _parts(outcome)]
    while any(piece := [dict(islice(part, size)) for part, size in zip(parts, _IN_A_PIECE, strict=True)]):
        yield piece


def _parts(policy: CheckedPolicy) -> tuple[dict[Any, Any], ...]:
    """What may be large: rules, tenants and plans."""
    return policy.rules.rules, policy.tenants, policy.plans
