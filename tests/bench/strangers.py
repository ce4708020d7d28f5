"""Callers without a token who send what is dear to receive: `python -m bench.strangers KIND PORT COUNT SECONDS`."""

import gzip
import json
import sys
import threading
import time
from collections.abc import Callable

from bench.raw_calls import RawConnection, framed
from vecsec.lane.v1 import lane_service_pb2

SEARCH = "/vecsec.gateway.v1.GatewayService/SearchDocuments"
CHECK = "/grpc.health.v1.Health/Check"
CARRY = "/vecsec.lane.v1.LaneService/Carry"
UNPACKED_BYTES = 63 * 1024 * 1024
LANE_BYTES = 60 * 1024 * 1024
_PAUSE_SECONDS = 0.05
_TIMEOUT_SECONDS = 20.0


def unpacking() -> tuple[str, bytes, dict[str, str]]:
    """64 KB of gzip that unpack to 63 MiB, for a method that needs a token."""
    packed = gzip.compress(bytes(UNPACKED_BYTES))
    return SEARCH, framed(packed, is_compressed=True), {"grpc-encoding": "gzip"}


def large() -> tuple[str, bytes, dict[str, str]]:
    """As many bytes as they are, for a method that needs a token."""
    return SEARCH, framed(bytes(LANE_BYTES)), {}


def health() -> tuple[str, bytes, dict[str, str]]:
    """Gzip that unpacks to as much as the transport takes, for a method that needs no token."""
    return CHECK, framed(gzip.compress(bytes(15 * 1024 * 1024)), is_compressed=True), {"grpc-encoding": "gzip"}


def lane() -> tuple[str, bytes, dict[str, str]]:
    """A lane, which needs no token, with one call of 60 MiB."""
    call = lane_service_pb2.CarriedCall(call_id=1, method=SEARCH, request=bytes(LANE_BYTES))
    return CARRY, framed(lane_service_pb2.CarryRequest(calls=[call]).SerializeToString()), {}


KINDS: dict[str, Callable[[], tuple[str, bytes, dict[str, str]]]] = {
    each.__name__: each for each in (unpacking, large, health, lane)
}


def _keep_calling(port: int, call: tuple[str, bytes, dict[str, str]], end: float, done: list[int]) -> None:
    while time.monotonic() < end:
        try:
            with RawConnection(port, _TIMEOUT_SECONDS) as connection:
                while time.monotonic() < end:
                    done.append(connection.call(*call))
        except OSError:
            time.sleep(_PAUSE_SECONDS)


def main() -> None:
    kind, port, count, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    call, end = KINDS[kind](), time.monotonic() + seconds
    done: list[int] = []
    threads = [threading.Thread(target=_keep_calling, args=(port, call, end, done)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump({"calls": len(done), "bytes": sum(done)}, sys.stdout)


if __name__ == "__main__":
    main()
