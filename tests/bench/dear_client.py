"""One tenant's dear calls, made by a process of its own until it is told to stop: eight callers at a time who, like our
SDK, wait as long as a refusal says."""

import pickle
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

CALLERS = 8
_LONGEST_WAIT_SECONDS = 5.0
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Attack:
    """What to call."""

    address: str
    method: str
    request: bytes
    tokens: tuple[str, ...]
    """Of the callers, in turn."""
    is_stream: bool = False
    patient: bool = True
    """Whether they wait after a refusal."""


@dataclass
class Outcome:
    """What came of it."""

    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """By limit, or by status."""


def attack(orders: Attack, until: threading.Event) -> Outcome:
    """Call until told to stop."""
    outcomes = [Outcome() for _ in range(CALLERS)]
    callers = [
        threading.Thread(target=_call_on, args=(orders, orders.tokens[number % len(orders.tokens)], outcome, until))
        for number, outcome in enumerate(outcomes)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return Outcome(sum(each.answered for each in outcomes), sum((each.refused for each in outcomes), Counter()))


def _call_on(orders: Attack, token: str, outcome: Outcome, until: threading.Event) -> None:
    metadata = (("authorization", f"Bearer {token}"),)
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.insecure_channel(orders.address, options=options) as channel:
        kind = channel.stream_stream if orders.is_stream else channel.unary_unary
        call = kind(f"/vecsec.gateway.v1.GatewayService/{orders.method}")
        while not until.is_set():
            try:
                if orders.is_stream:
                    for _ in call(iter([orders.request]), metadata=metadata, timeout=_TIMEOUT_SECONDS):
                        """It is stored."""
                else:
                    call(orders.request, metadata=metadata, timeout=_TIMEOUT_SECONDS)
                outcome.answered += 1
            except grpc.RpcError as error:
                what, wait = _refusal(error)
                outcome.refused[what] += 1
                until.wait(min(wait, _LONGEST_WAIT_SECONDS) if orders.patient else 0.0)


def _refusal(error: grpc.RpcError) -> tuple[str, float]:
    what, wait = error.code().name, 0.1
    status = rpc_status.from_call(error)
    for packed in () if status is None else status.details:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if packed.Unpack(info):
            what = info.metadata.get("limit", what)
        elif packed.Unpack(retry):
            wait = retry.retry_delay.ToMilliseconds() / 1000
    return what, wait


def main() -> None:
    """Attack with the orders in the first file; stop when standard input ends, and leave the outcome in the second."""
    orders_file, outcome_file = map(Path, sys.argv[1:3])
    orders: Attack = pickle.loads(orders_file.read_bytes())
    until = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        until.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    outcome = attack(orders, until)
    outcome_file.write_bytes(pickle.dumps((outcome.answered, outcome.refused)))


if __name__ == "__main__":
    main()
