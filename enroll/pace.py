"""Where the time of an enrolment went: processor time by stage, and what bound it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

STAGES = ("decode", "detect", "encode", "store")


@dataclass
class Pace:
    """Gathers while an enrolment runs; safe to share between threads.

    Three stages are timed in the threads that do them. The encoder computes in threads of its
    runtime: to it goes what the process used beyond the other stages.

    Attributes:
        photos: how many came out at the end.
        seconds: stage → seconds of processor time.
    """

    photos: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = time.perf_counter(), time.process_time()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the block takes of this thread's processor time."""
        begun = time.thread_time()
        try:
            yield
        finally:
            used = time.thread_time() - begun
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + used

    def report(self) -> dict[str, Any]:
        """Plain JSON values.

        `photos_per_second`; `cores`, how many were busy on average, of how many; `share`, of the
        processor time, by stage; `rate`, photos a second that the stage alone would do with all
        cores; `bound_by`, the stage with the largest share.
        """
        wall = max(time.perf_counter() - self._begun[0], 1e-9)
        total = max(time.process_time() - self._begun[1], 1e-9)
        seconds = {stage: self.seconds.get(stage, 0.0) for stage in STAGES}
        seconds["encode"] = max(total - sum(seconds.values()) + seconds["encode"], 0.0)
        cores = os.cpu_count() or 1
        return {
            "photos_per_second": round(self.photos / wall, 1),
            "cores": [round(total / wall, 2), cores],
            "share": {stage: round(used / total, 3) for stage, used in seconds.items()},
            "rate": {
                stage: round(self.photos * cores / used, 1) if used > 0 else None
                for stage, used in seconds.items()
            },
            "bound_by": max(STAGES, key=seconds.__getitem__),
        }

    def line(self) -> str:
        """The report on one line."""
        told = self.report()
        shares = ", ".join(f"{stage} {told['share'][stage]:.0%}" for stage in STAGES)
        busy, cores = told["cores"]
        return (
            f"{told['photos_per_second']} photos/s with {busy} of {cores} cores busy; of their "
            f"time: {shares}; bound by {told['bound_by']}"
        )
