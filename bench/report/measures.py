"""What is measured: name, unit and better direction of each figure, and how numbers are written."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CASE", "CPU", "FOOTPRINT", "MEMORY", "MICRO", "MIX", "PEAK", "RATE", "Measure", "number", "ratio"]


@dataclass(frozen=True)
class Measure:
    """A figure of a row: `key` in the file, times `scale` in the unit that readers see."""

    key: str
    title: str
    unit: str
    scale: float = 1.0
    more_is_better: bool = False

    def show(self, value: float) -> str:
        """Write a figure without its unit."""
        return number(value * self.scale)

    def better(self, one: float, other: float) -> bool:
        """Return whether `one` is the better of two."""
        return one > other if self.more_is_better else one < other


_MB = 1 / (1 << 20)
CPU = Measure("cpu_us", "CPU per request", "µs")
RATE = Measure("requests_per_second", "requests per second", "/s", more_is_better=True)
EFFICIENCY = Measure("requests_per_cpu_second", "requests per CPU-second", "/s", more_is_better=True)
MEMORY = Measure("memory_bytes", "memory under load", "MB", _MB)
# By which servers are compared, in the order of weight; EFFICIENCY is the reciprocal of CPU.
CASE = (CPU, RATE, Measure("p99_us", "99th percentile of latency", "ms", 1e-3), MEMORY)
FOOTPRINT = (
    Measure("own_bytes", "worker's own memory", "MB", _MB),
    Measure("idle_bytes", "memory of an idle worker", "MB", _MB),
    Measure("server_bytes", "memory of the idle server, all its processes", "MB", _MB),
    Measure("bytes_per_connection", "memory per idle connection", "KB", 1 / 1024),
    Measure("start_ms", "start to first response", "ms"),
    Measure("import_ms", "import", "ms"),
)
PEAK = Measure("peak_rps", "peak of the mix", "/s", more_is_better=True)
MIX = (
    RATE,
    Measure("p50_ms", "median of latency", "ms"),
    Measure("p95_ms", "95th percentile of latency", "ms"),
    Measure("p99_ms", "99th percentile of latency", "ms"),
    CPU,
    Measure("failures", "failed requests", ""),
    MEMORY,
)
MICRO = Measure("mean_ns", "time", "ns")


def number(value: float) -> str:
    """Write a number with three significant digits at most, and all those before the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ratio(value: float) -> str:
    """Write a ratio with two digits after the point."""
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
