"""A clock that jumps is noticed; one that drifts, or a machine that is slow, is not taken for one."""

from opentelemetry.sdk.metrics import MeterProvider
from structlog.testing import capture_logs

from vecsec_chassis.telemetry.clock_watch import ClockWatch


class Clocks:
    """Two clocks that are set by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_000_000.0, 50.0
        self.watch = ClockWatch(MeterProvider().get_meter("test"), wall=lambda: self.wall, steady=lambda: self.steady)

    def pass_time(self, seconds: float, *, jump: float = 0.0) -> float:
        self.steady += seconds
        self.wall += seconds + jump
        return self.watch.look()


def test_jumps_are_told_once_and_in_their_direction() -> None:
    clocks = Clocks()
    with capture_logs() as logs:
        assert round(clocks.pass_time(1.0, jump=-3600.0)) == -3600
        assert clocks.pass_time(1.0) == 0.0
        assert round(clocks.pass_time(1.0, jump=30.0)) == 30
    assert [line["seconds"] for line in logs] == [-3600.0, 30.0]


def test_slewing_and_a_slow_machine_are_no_jumps() -> None:
    clocks = Clocks()
    assert [clocks.pass_time(1.0, jump=0.0005) for _ in range(100)] == [0.0] * 100
    assert clocks.pass_time(120.0) == 0.0
