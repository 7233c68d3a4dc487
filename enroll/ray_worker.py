"""What a machine of the cluster does: it looks at a block of photos and encodes their faces.

It knows neither the gallery nor its database: it is sent addresses and sends back faces. The
stages are those of `enroll.encoding`, so that a photo gives the same wherever it is looked at.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.embed import Embedder, open_embedder
from embedder.errors import EmbedderError
from embedder.quality import Gate
from enroll.encoding import admit_all
from enroll.intake import Looked, Ticket, look_ahead
from enroll.ray_rows import Reply, to_table

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Task:
    """What every worker is told when it starts.

    Attributes:
        model, detector, device, runtime, max_pixels: as `embedder.embed.open_embedder`.
        rule: which faces of a photo; see `EnrolmentRules.on_multiple`.
        gate: the least quality.
        jobs: threads that decode and detect.
        variables: of the environment: where object storage is; no credentials.
    """

    model: str
    detector: str
    device: str | None
    runtime: str | None
    max_pixels: int
    rule: str
    gate: Gate
    jobs: int
    variables: dict[str, str]


class Worker:
    """An actor: it opens detector and encoder once and keeps them."""

    def __init__(self, task: Task) -> None:
        """Open them; weights are found and verified on this machine, by their digest.

        What prevents it is told with every photo, so that the run can end with the reason.
        """
        self.task = task
        self.machine = platform.node()
        self.fault = ""
        self.embedder: Embedder | None = None
        os.environ.update(task.variables)
        try:
            self.embedder = open_embedder(
                task.model, detector=task.detector, device=task.device, runtime=task.runtime,
                max_pixels=task.max_pixels,
            )  # fmt: skip
        except (EmbedderError, ImportError) as error:
            self.fault = str(error)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Look at a block of photos.

        Args:
            block: columns number (int), place (bytes: a path or an address), label (str).

        Returns:
            a row a photo, as `enroll.ray_rows` writes them.
        """
        rows = block.to_pylist()
        if self.embedder is None:
            faults = [Looked(row["label"]) for row in rows]
            return to_table(
                Reply(row["number"], looked, None, self.machine, "", self.fault)
                for row, looked in zip(rows, faults, strict=True)
            )
        return to_table(self._replies(rows, self.embedder))

    def _replies(self, rows: list[dict[str, Any]], embedder: Embedder) -> Iterator[Reply]:
        task = self.task
        tickets = (Ticket(os.fsdecode(row["place"]), row["number"], row["label"]) for row in rows)
        seen = list(look_ahead(tickets, embedder, task.rule, _never, task.jobs))
        admitted = admit_all([looked for looked, _ in seen], embedder, task.rule, task.gate)
        for (looked, number), one in zip(seen, admitted, strict=True):
            yield Reply(number, looked, one, self.machine, device_of(embedder))


def device_of(embedder: Embedder) -> str:
    """Device, runtime and precision of an encoder, such as `cpu openvino bf16`."""
    network = getattr(embedder.encoder, "network", None)
    return "" if network is None else f"{network.device} {network.runtime} {network.precision}"


def build() -> str:
    """Hex sha256 over the code that turns photos into vectors, as it lies on this machine."""
    here = Path(__file__).parent
    ours = [here / f"{name}.py" for name in ("encoding", "intake", "ray_rows", "ray_worker")]
    digest = hashlib.sha256()
    for file in [*sorted((here.parent / "embedder").glob("*.py")), *ours]:
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _never(_digest: str) -> bool:
    """No photo is known here: the driver has left out those that are."""
    return False
