"""The log of a run: `log.csv`, and TensorBoard's files where TensorBoard is installed."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.collapse import Health

FIELDS = (
    "step", "seconds", "rate", "loss", "active", "distance", "spread", "gradient", "parts", "eer",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One line.

    Attributes:
        health: the numbers of the batch.
        rate: learning rate.
        parts: each objective's own value.
        seconds: since this process began.
    """

    health: Health
    rate: float
    parts: Mapping[str, float]
    seconds: float


class Log:
    """Appends to the logs of a run; a continued run drops what came after its checkpoint."""

    def __init__(self, run: Path, *, from_step: int, active: bool) -> None:
        """Open the logs.

        Args:
            run: its folder.
            from_step: steps done; later lines are from a run that was killed.
            active: False in all processes but the first.
        """
        self._path = run / "log.csv"
        self._board: Any = None
        self._active = active
        if not active:
            return
        run.mkdir(parents=True, exist_ok=True)
        kept = _rows(self._path, from_step)
        self._file = self._path.open("w", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, FIELDS)
        self._writer.writeheader()
        self._writer.writerows(kept)
        self._file.flush()
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=from_step + 1)

    def row(self, row: Row) -> None:
        """Write what a look at a batch found."""
        h = row.health
        cells = {
            "step": h.step, "seconds": round(row.seconds, 2), "rate": row.rate, "loss": h.loss,
            "active": h.active, "distance": h.distance, "spread": h.spread, "gradient": h.gradient,
        }  # fmt: skip
        parts = " ".join(f"{name}={value:.6g}" for name, value in row.parts.items())
        self._write({**cells, "parts": parts})
        shown = {name: cells[name] for name in FIELDS[2:8]}
        self._show(h.step, shown | {f"objective/{n}": v for n, v in row.parts.items()})

    def eer(self, step: int, eer: float | None) -> None:
        """Write what a validation found, in a line of its own."""
        if eer is not None:
            self._write({"step": step, "eer": eer})
            self._show(step, {"eer": eer})

    def _write(self, cells: Mapping[str, Any]) -> None:
        if self._active:
            self._writer.writerow(cells)
            self._file.flush()

    def _show(self, step: int, values: Mapping[str, Any]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the files."""
        if self._active:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _rows(path: Path, until: int) -> list[dict[str, str]]:
    """The lines of steps up to `until` of a log that may be there; a torn last line is dropped."""
    if not path.is_file() or not until:
        return []
    with path.open(newline="", encoding="utf-8") as file:
        found = [row for row in csv.DictReader(file) if (row.get("step") or "").isdecimal()]
    return [row for row in found if int(row["step"]) <= until]
