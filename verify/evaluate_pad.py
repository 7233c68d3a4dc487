"""How often a gate against presentation attacks errs, as ISO/IEC 30107-3 reports it.

For each species of attack instrument APCER, the share of its presentations that the gate takes for
bona fide, and APNRR, the share it gives no response to; for bona fide presentations BPCER, the
share it takes for attacks, and BPNRR. No mean over species stands for them: the worst is told.
An undecided presentation is neither error and has a column of its own.

Presentations lie in folders, or a csv names them:

    DIR/bona_fide/PERSON/*.jpg     (or DIR/bona_fide/*.jpg)
    DIR/attack/KIND/PERSON/*.jpg   (or DIR/attack/KIND/*.jpg)
    file,kind[,person]             kind: bona_fide, or the attack's

A person (else a file) is the unit of the intervals; see `verify.resampling`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedder.embed import Embedder
from embedder.errors import UnusablePhoto
from embedder.photo import is_photo_name
from verify.capture import take
from verify.errors import CaptureError, PadFolderUnusable, ProbeRejected
from verify.evaluation import UNSUPPORTED, Rate
from verify.output import as_table
from verify.pad import PadGate, PadResult
from verify.progress import progress
from verify.resampling import by_person
from verify.sources import VIDEO_SUFFIXES

BONA_FIDE = "bona_fide"
NO_RESPONSE = "no_response"


@dataclass(frozen=True, slots=True)
class Presentation:
    """One photo or video that was shown to a gate.

    Attributes:
        path: the file.
        kind: `bona_fide`, or the species of the attack instrument.
        person: whose it is, the unit of the intervals.
    """

    path: Path
    kind: str
    person: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What a gate said of a presentation.

    Attributes:
        presentation: which.
        outcome: `bona_fide`, `attack`, `undecided` or `no_response`.
        score: the gate's, or None.
        reasons: the gate's, or why there is no response.
    """

    presentation: Presentation
    outcome: str
    score: float | None
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "file": str(self.presentation.path),
            "kind": self.presentation.kind,
            "outcome": self.outcome,
            "score": self.score,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True, slots=True)
class KindRates:
    """The rates of bona fide presentations, or of one species of attacks.

    Attributes:
        kind: which.
        presentations: how many.
        error: BPCER or APCER, among those with a response.
        undecided: share left undecided among those.
        no_response: BPNRR or APNRR, among all.
    """

    kind: str
    presentations: int
    error: Rate
    undecided: Rate
    no_response: Rate

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the rates under their names in ISO/IEC 30107-3."""
        names = ("bpcer", "bpnrr") if self.kind == BONA_FIDE else ("apcer", "apnrr")
        return {
            "kind": self.kind,
            "presentations": self.presentations,
            names[0]: self.error.to_dict(),
            "undecided": self.undecided.to_dict(),
            names[1]: self.no_response.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class PadEvaluation:
    """The rates of a gate on a set of presentations.

    Attributes:
        gate: its name.
        source: the folder or list.
        bona_fide: the rates of bona fide presentations.
        attacks: those of each species, by name.
        judged: every presentation.
    """

    gate: str
    source: str
    bona_fide: KindRates
    attacks: tuple[KindRates, ...]
    judged: tuple[Judged, ...]

    @property
    def worst(self) -> KindRates | None:
        """The species with the largest APCER; None where none is supported."""
        known = [kind for kind in self.attacks if kind.error.value is not None]
        return max(known, key=lambda kind: kind.error.value or 0.0) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "gate": self.gate,
            "source": self.source,
            "standard": "ISO/IEC 30107-3",
            "bona_fide": self.bona_fide.to_dict(),
            "attacks": [kind.to_dict() for kind in self.attacks],
            "worst": None if self.worst is None else self.worst.kind,
            "files": [one.to_dict() for one in self.judged],
        }

    def lines(self) -> list[str]:
        """The rates as text."""
        rows = [
            (k.kind, k.presentations, name, k.error, k.undecided, k.no_response)
            for name, kinds in (("BPCER", (self.bona_fide,)), ("APCER", self.attacks))
            for k in kinds
        ]
        head = ("presentations", "", "", "error [95 %]", "undecided [95 %]", "no response [95 %]")
        worst = "APCER of the worst species: " + (
            UNSUPPORTED if self.worst is None else f"{self.worst.error} ({self.worst.kind})"
        )
        return [
            f"Gate {self.gate} on {self.source}, ISO/IEC 30107-3",
            as_table(rows, head),
            worst,
        ]


def read_presentations(place: Path) -> list[Presentation]:
    """The presentations of a folder or of a csv, in the order of their paths.

    Raises:
        PadFolderUnusable: nothing bona fide, no attack, or a csv of another form.
    """
    found = _listed(place) if place.is_file() else _in_folders(place)
    kinds = {one.kind for one in found}
    if BONA_FIDE not in kinds or len(kinds) < 2:
        raise PadFolderUnusable(
            f"{place} holds {len(found)} photos and videos of {sorted(kinds) or 'no kind'}: needed "
            "are bona_fide/ and attack/KIND/, or a csv of file,kind with bona_fide and another "
            "kind."
        )
    return found


def _in_folders(place: Path) -> list[Presentation]:
    roots = {BONA_FIDE: place / BONA_FIDE}
    attacks = place / "attack"
    if attacks.is_dir():
        loose = [path.name for path in attacks.iterdir() if _usable(path)]
        if loose:
            raise PadFolderUnusable(
                f"{attacks / min(loose)} has no species: put it into a folder, attack/KIND/."
            )
        roots |= {path.name: path for path in sorted(attacks.iterdir()) if path.is_dir()}
    return [
        Presentation(path, kind, path.parent.name if path.parent != root else path.name)
        for kind, root in roots.items()
        for path in sorted(root.rglob("*"))
        if _usable(path)
    ]


def _listed(place: Path) -> list[Presentation]:
    with place.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if not {"file", "kind"} <= set(rows.fieldnames or ()):
            raise PadFolderUnusable(f"{place} needs the columns file and kind; it may have person.")
        return [
            Presentation(
                place.parent / (row["file"] or ""),
                row["kind"] or "",
                row.get("person") or row["file"],
            )
            for row in rows
        ]


def _usable(path: Path) -> bool:
    return path.is_file() and (is_photo_name(path) or path.suffix.lower() in VIDEO_SUFFIXES)


def evaluate_pad(
    embedder: Embedder,
    place: Path,
    gate: PadGate,
    *,
    on_multiple: str = "centre",
    quiet: bool = True,
) -> PadEvaluation:
    """Show a gate each presentation, as `vultus verify` would, and count.

    Args:
        embedder: detector and encoder.
        place: a folder or a csv; see above.
        gate: what is measured.
        on_multiple: which face of a photo with several.
        quiet: no progress bar.

    Raises:
        PadFolderUnusable: no such presentations.
    """
    presentations = read_presentations(place)
    judged = tuple(
        _judge(embedder, gate, one, on_multiple)
        for one in progress(presentations, "presentations", "files", quiet=quiet)
    )
    kinds = sorted({one.kind for one in presentations} - {BONA_FIDE})
    return PadEvaluation(
        gate=gate.name,
        source=str(place),
        bona_fide=_rates(BONA_FIDE, judged),
        attacks=tuple(_rates(kind, judged) for kind in kinds),
        judged=judged,
    )


def _judge(embedder: Embedder, gate: PadGate, one: Presentation, rule: str) -> Judged:
    try:
        probe = take(embedder, str(one.path.absolute()), rule=rule)
    except (ProbeRejected, CaptureError, UnusablePhoto) as error:
        return Judged(one, NO_RESPONSE, None, (getattr(error, "reason", error.code),))
    found: PadResult = gate.check(probe.shots)
    outcome = NO_RESPONSE if found.outcome == "not_run" else found.outcome
    return Judged(one, outcome, found.score, found.reasons)


def _rates(kind: str, judged: Sequence[Judged]) -> KindRates:
    """The rates of one kind."""
    own = [one for one in judged if one.presentation.kind == kind]
    answered = [one for one in own if one.outcome != NO_RESPONSE]
    wrong = "attack" if kind == BONA_FIDE else BONA_FIDE
    return KindRates(
        kind=kind,
        presentations=len(own),
        error=_share(answered, wrong),
        undecided=_share(answered, "undecided"),
        no_response=_share(own, NO_RESPONSE),
    )


def _share(judged: Sequence[Judged], outcome: str) -> Rate:
    """How often an outcome came, people being the units."""
    hits = np.array([one.outcome == outcome for one in judged], dtype=bool)
    names = [one.presentation.person for one in judged]
    return by_person(hits, np.unique(names, return_inverse=True)[1].astype(np.int64))
