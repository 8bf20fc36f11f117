"""What a process takes while something is done, as Linux tells it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from app.errors import HindsightError

KIB = 1024


class Taken(NamedTuple):
    """What something cost a process."""

    cpu: float
    """Milliseconds."""
    grown: float
    """Megabytes that were resident at the worst moment and not at the beginning."""


class Usage:
    """CPU time and memory of a process since this was made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._clear_peak()
        self._cpu, self._resident = self._cpu_now(), _megabytes(pid, "VmRSS")

    def taken(self) -> Taken:
        """What it took until now."""
        return Taken((self._cpu_now() - self._cpu) / 1e6, max(0.0, peak(self._pid) - self._resident))

    def _cpu_now(self) -> int:
        """Nanoseconds of all its threads: the clock of clock_getcpuclockid(3), by the number that Linux gives it."""
        return time.clock_gettime_ns((~self._pid << 3) | 2)

    def _clear_peak(self) -> None:
        try:
            Path(f"/proc/{self._pid}/clear_refs").write_text("5")  # proc(5): VmHWM becomes VmRSS
        except OSError as error:
            raise HindsightError(f"the memory of a process is told by Linux only: {error}") from None


def peak(pid: int) -> float:
    """Megabytes that were resident at the worst moment."""
    return _megabytes(pid, "VmHWM")


def _megabytes(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith(f"{name}:")) / 1e6
