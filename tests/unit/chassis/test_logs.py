"""Log lines lead to the trace, and to the very span, of the call that they are about."""

import json
import subprocess
import sys

SCRIPT = """
import structlog
from opentelemetry.sdk.trace import TracerProvider
from vecsec_chassis.telemetry.logs import configure

configure("gateway", "INFO")
with TracerProvider().get_tracer("test").start_as_current_span("call") as span:
    structlog.get_logger().info("inside")
    ids = span.get_span_context()
structlog.get_logger().info("outside", trace=f"{ids.trace_id:032x}", span=f"{ids.span_id:016x}")
"""


def test_lines_of_a_traced_call_have_its_trace_and_span() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    inside, outside = (json.loads(line) for line in done.stdout.splitlines())
    assert (inside["trace_id"], inside["span_id"]) == (outside["trace"], outside["span"])
    assert not outside.keys() & {"trace_id", "span_id"}
