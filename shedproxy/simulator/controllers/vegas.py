"""Queue estimation from the lowest latency: `VegasLimit` of Netflix concurrency-limits, windowed.

After TCP Vegas (Brakmo and Peterson 1994). Now and then the lowest latency is replaced by that of
the present window, whatever the load is.
"""

from __future__ import annotations

from collections.abc import Callable

from shedproxy.core import next_vegas_limit
from shedproxy.simulator.controllers.windowed import WINDOWING, WindowedControl, Windowing
from shedproxy.workload import RandomSource

__all__ = ["VegasControl"]


class VegasControl(WindowedControl):
    """`baseline_ns` is its no-load latency.

    Windowed, as in the example for gRPC; what `newDefault` gives takes each single latency.
    """

    def __init__(
        self,
        *,
        rng: RandomSource,
        initial: int = 20,
        maximum: int = 1000,
        smoothing: float = 1.0,
        alpha: int | None = None,
        beta: int | None = None,
        decrease: Callable[[float], float] | None = None,
        probe_multiplier: int = 30,
        windowing: Windowing = WINDOWING,
    ) -> None:
        """Bounds in slots; `alpha`, `beta` and `decrease` as in `next_vegas_limit`.

        The lowest latency is measured anew every `probe_multiplier` x limit windows, times a
        factor that `rng` draws from 0.5..1.
        """
        super().__init__(initial, windowing)
        self._rng = rng
        self._maximum = maximum
        self._smoothing = smoothing
        self._alpha = alpha
        self._beta = beta
        self._decrease = decrease
        self._probe_multiplier = probe_multiplier
        self._estimate = float(initial)
        self._samples_since_probe = 0
        self._probe_jitter = self._draw_jitter()

    def _draw_jitter(self) -> float:
        return 0.5 + self._rng.random() / 2

    def on_sample(self, rtt_ns: int, in_flight: int, *, did_drop: bool) -> None:
        """A window. One that sets the no-load latency moves nothing."""
        self._samples_since_probe += 1
        probe_after = self._probe_jitter * self._probe_multiplier * self._estimate
        if probe_after <= self._samples_since_probe:
            self._probe_jitter = self._draw_jitter()
            self._samples_since_probe = 0
            self.baseline_ns = rtt_ns
            return
        if self.baseline_ns == 0 or rtt_ns < self.baseline_ns:
            self.baseline_ns = rtt_ns
            return
        self._estimate, _ = next_vegas_limit(
            limit=self._estimate,
            rtt_ns=rtt_ns,
            rtt_noload_ns=self.baseline_ns,
            in_flight=in_flight,
            did_drop=did_drop,
            maximum=self._maximum,
            smoothing=self._smoothing,
            alpha=self._alpha,
            beta=self._beta,
            decrease=self._decrease,
        )
        self.limit = int(self._estimate)
