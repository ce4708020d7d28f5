"""How many calls a service does well to work on at once, learnt from how long they take.

The controller is Envoy's adaptive concurrency filter (envoyproxy.io/docs, "Adaptive Concurrency", gradient controller):

    gradient  = (minRTT + minRTT * buffer) / sampleRTT, kept between 0.5 and 2
    new limit = gradient * limit + sqrt(gradient * limit)

minRTT is what a call takes while few are served, sampleRTT what calls took lately. As methods differ in what they take,
both are kept for each method, and what is sampled is how many times its minRTT a call took. Envoy finds minRTT by
serving few calls for a while now and then; here that is only done where no calmer moment has come by itself.

Other than a proxy, a service knows whether it is itself the bottleneck: its event loop is late then. Calls that take
long because a store or a peer does are no reason to serve fewer.
"""

from collections import deque
from collections.abc import Callable
from math import sqrt
from statistics import median

_BUFFER = 0.5
_LOWEST_GRADIENT, _HIGHEST_GRADIENT = 0.5, 2.0
_WINDOW_SECONDS = 0.25
_WINDOW_SAMPLES = 10
_BASELINE_SAMPLES = 200
"""Of which the lower quartile is a method's minRTT: in an overload also few calls take too long, for the process has
others to turn away."""
_ENOUGH_FOR_A_BASELINE = 10
_LOOK_EVERY = 10
_FIRST_SECONDS = 0.005
"""What a call is taken to take before that is known."""
_BASELINE_SECONDS = 60.0
"""After which one that was not renewed is measured anew, if the service is busy."""


class AdaptiveLimit:
    """A number of calls between `lowest` and `highest`."""

    def __init__(self, clock: Callable[[], float], *, lowest: int = 3, initial: int = 16, highest: int = 256) -> None:
        """`clock` is in seconds. Up to `lowest` calls at once count as few."""
        self._clock = clock
        self._lowest = lowest
        self._highest = highest
        self._limit = float(initial)
        self._baselines: dict[str, _Baseline] = {}
        self._ratios: list[float] = []
        self._late = 0
        self._most_at_once = 0
        self._window_ends = clock() + _WINDOW_SECONDS
        self._probes_until = 0.0

    @property
    def limit(self) -> int:
        """So many at once, now."""
        return self._lowest if self._clock() < self._probes_until else int(self._limit)

    def usual_seconds(self, method: str) -> float:
        """What a call of a method takes while few are served, as far as that is known."""
        baseline = self._baselines.get(method)
        return baseline.seconds if baseline is not None and baseline.seconds else _FIRST_SECONDS

    def sample(self, method: str, seconds: float, at_once: int, *, is_late: bool) -> None:
        """A call took so long; so many, itself included, were served when it began. `is_late`: whether this process
        is."""
        baseline = self._baselines.get(method)
        if baseline is None:
            baseline = self._baselines[method] = _Baseline()
        now = self._clock()
        if at_once <= self._lowest:
            baseline.add(seconds, now)
        self._most_at_once = max(self._most_at_once, at_once)
        if baseline.seconds:
            self._ratios.append(seconds / baseline.seconds)
            self._late += is_late
        elif at_once >= self.limit:
            self._probe(now)
        if now >= self._window_ends and len(self._ratios) >= _WINDOW_SAMPLES:
            self._end_window(baseline, now)

    def _end_window(self, baseline: "_Baseline", now: float) -> None:
        ratio = median(self._ratios)
        if now >= self._probes_until and self._most_at_once * 2 > self._limit:  # else there is nothing to learn
            gradient = min(max((1 + _BUFFER) / ratio, _LOWEST_GRADIENT), _HIGHEST_GRADIENT)
            if self._late * 2 < len(self._ratios):
                gradient = max(gradient, 1.0)
            limit = gradient * self._limit
            self._limit = min(max(limit + sqrt(limit), self._lowest), self._highest)
            if now - baseline.renewed_at > _BASELINE_SECONDS:
                self._probe(now)
        self._ratios.clear()
        self._late = 0
        self._most_at_once = 0
        self._window_ends = now + _WINDOW_SECONDS

    def _probe(self, now: float) -> None:
        """Serve few for a moment, to see what calls take then."""
        if now >= self._probes_until + _WINDOW_SECONDS:
            self._probes_until = now + _WINDOW_SECONDS


class _Baseline:
    """What calls of a method take while few are served."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_BASELINE_SAMPLES)
        self._unseen = 0
        self.seconds = 0.0
        """0.0 until enough were seen."""
        self.renewed_at = 0.0

    def add(self, seconds: float, now: float) -> None:
        self._samples.append(seconds)
        self.renewed_at = now
        self._unseen += 1
        if self._unseen >= _LOOK_EVERY and len(self._samples) >= _ENOUGH_FOR_A_BASELINE:
            self._unseen = 0
            self.seconds = max(sorted(self._samples)[len(self._samples) // 4], 1e-6)
