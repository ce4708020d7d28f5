"""What is read from h2load, from the kernel, and what is put on the wire."""

from pathlib import Path

import pytest
from bench.h2load import parse_log
from bench.processes import cpu_of_stat, cpu_seconds
from bench.wire_calls import GrpcCall


def test_h2load_logs_start_status_and_microseconds() -> None:
    samples = parse_log("1700000000000000\t200\t2500\n1700000000002600\t-1\t400\n")
    assert [(each.is_ok, pytest.approx(each.seconds, abs=1e-6)) for each in samples] == [
        (True, 0.0025),
        (False, 0.0004),
    ]
    assert samples[1].due == pytest.approx(1_700_000_000.0026, abs=1e-6)


def test_processor_time_is_read_past_any_name() -> None:
    stat = Path("/proc/self/stat").read_text()
    renamed = f"1 (a) name 9 9) {stat.rpartition(')')[2].strip()}"
    assert cpu_of_stat(renamed) == cpu_of_stat(stat) >= 0
    assert cpu_seconds({"me": "self"})["me"] >= cpu_of_stat(stat)


def test_a_grpc_request_is_framed() -> None:
    post = GrpcCall("localhost:1", "/service/Method", {"authorization": "Bearer x"}, b"abc").as_http()
    assert post.body == b"\x00\x00\x00\x00\x03abc"
    assert post.uri == "http://localhost:1/service/Method"
    assert post.headers == {"content-type": "application/grpc", "te": "trailers", "authorization": "Bearer x"}
