"""Presentation attack detection: whether a living face stood before the camera, as a gate.

A gate is asked beside the comparison and never takes its place: "verified" says who, the gate says
whether what was shown was a person, and where no gate ran the answer says `not_run`. Gates are
found by name, the built-in one and those that an installed distribution declares:

    [project.entry-points."vultus.pad"]
    mygate = "my_package:open_gate"

where the object is a class or a function without arguments that gives a `PadGate`. Terms follow
ISO/IEC 30107-1 and -3: a presentation is bona fide or an attack.

Letters: F frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from verify.errors import UnknownPadGate

if TYPE_CHECKING:
    from embedder.detect import Face
    from embedder.photo import Photo
    from verify.decision import Decision
    from verify.pad_camera import Asking

PadOutcome = Literal["bona_fide", "attack", "undecided", "not_run"]
PadMode = Literal["off", "observe", "require"]
MODES: tuple[str, ...] = get_args(PadMode)
ENTRY_POINTS = "vultus.pad"
DEFAULT_GATE = "recapture"
ATTACK = "presentation_attack"
UNDECIDED = "presentation_undecided"
_OUTCOMES = get_args(PadOutcome)
# What several gates say together: the worst of them.
_WORST: tuple[PadOutcome, ...] = ("attack", "undecided", "not_run", "bona_fide")


@dataclass(frozen=True, slots=True)
class PadResult:
    """What a gate found.

    Attributes:
        outcome: `bona_fide`, `attack`, `undecided`, or `not_run` where no gate looked.
        gate: the gate's name, or None.
        reasons: why, as codes or sentences.
        score: the gate's own scale, higher is more like an attack; None where it has none.
        threshold: "attack" from it on; None with `score`.
        measures: the figures behind the score, by name.
        parts: the results of several gates, where this one sums them up.
    """

    outcome: PadOutcome
    gate: str | None = None
    reasons: tuple[str, ...] = ()
    score: float | None = None
    threshold: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    parts: tuple[PadResult, ...] = ()

    def __post_init__(self) -> None:
        if self.outcome not in _OUTCOMES:
            raise ValueError(f"A gate's outcome is one of {_OUTCOMES}; got {self.outcome!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; what there is nothing to say about is left out."""
        told: dict[str, Any] = {"outcome": self.outcome}
        if self.gate is not None:
            told |= {"gate": self.gate, "reasons": list(self.reasons)}
        if self.score is not None:
            told["score"] = round(self.score, 6)
        if self.threshold is not None:
            told["threshold"] = round(self.threshold, 6)
        if self.measures:
            told["measures"] = {name: round(value, 6) for name, value in self.measures.items()}
        if self.parts:
            told["parts"] = [part.to_dict() for part in self.parts]
        return told

    def __str__(self) -> str:
        if self.outcome == "not_run":
            return "no presentation-attack check ran"
        return f"{self.outcome} ({self.gate}) {', '.join(self.reasons)}".rstrip()


NOT_RUN = PadResult("not_run")


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame as a gate sees it.

    Attributes:
        photo: the whole frame.
        face: the face that is compared.
    """

    photo: Photo
    face: Face


class PadGate(Protocol):
    """What tells a person from a picture of one."""

    name: str

    def check(self, shots: Sequence[Shot]) -> PadResult:
        """Judge a presentation.

        Args:
            shots: the F frames that are compared, at least one; a photo is one frame.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pad:
    """What is asked of presentation attack detection for one decision.

    Attributes:
        mode: `off`; `observe`: report only; `require`: an attack makes the answer no, and an
            undecided presentation makes a yes unsure.
        gate: what looks at the frames compared; None: nothing but a challenge.
        challenge: how a moving source is asked to turn the head; None: it is not.
    """

    mode: PadMode = "off"
    gate: PadGate | None = None
    challenge: Asking | None = None

    def check(self, shots: Sequence[Shot], *others: PadResult) -> PadResult:
        """Ask the gate, and sum it up with what is known already.

        Args:
            shots: the F frames that are compared.
            others: results of gates that ran while the frames were taken.
        """
        if self.mode == "off":
            return NOT_RUN
        asked = () if self.gate is None or not shots else (self.gate.check(shots),)
        return combined((*others, *asked))


OFF = Pad()


def combined(results: Sequence[PadResult]) -> PadResult:
    """Several gates as one: attack where any says so, bona fide where all do."""
    if not results:
        return NOT_RUN
    if len(results) == 1:
        return results[0]
    worst = min(results, key=lambda result: _WORST.index(result.outcome))
    names = "+".join(result.gate or "?" for result in results)
    return PadResult(worst.outcome, names, worst.reasons, parts=tuple(results))


def apply(decision: Decision, pad: PadResult, mode: PadMode) -> Decision:
    """A decision with what the gate found; under `require` the answer follows it.

    A gate only ever takes away: an attack makes the answer no, whatever is no bona fide
    presentation makes a yes unsure, and a no stays a no.
    """
    decision = replace(decision, pad=pad)
    if mode != "require" or pad.outcome == "bona_fide":
        return decision
    if pad.outcome == "attack":
        return replace(decision, match="no", reasons=(*decision.reasons, ATTACK))
    match = "unsure" if decision.match == "yes" else decision.match
    return replace(decision, match=match, reasons=(*decision.reasons, UNDECIDED))


def gate_names() -> list[str]:
    """The names that `open_gate` knows: the built-in gate's, then those installed."""
    return [DEFAULT_GATE, *sorted(_installed().keys() - {DEFAULT_GATE})]


def open_gate(name: str = DEFAULT_GATE) -> PadGate:
    """A gate by name; the built-in one cannot be replaced by an installed one.

    Raises:
        UnknownPadGate: none of that name, or what is installed under it cannot be opened.
    """
    if name == DEFAULT_GATE:
        from verify.pad_passive import RecaptureGate

        return RecaptureGate()
    found = _installed().get(name)
    if found is None:
        known = ", ".join(gate_names())
        raise UnknownPadGate(f"There is no gate {name!r} against presentation attacks: {known}.")
    try:
        gate: PadGate = found.load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise UnknownPadGate(
            f"The gate {name!r} ({found.value}) cannot be opened ({error}): repair or remove the "
            "distribution that brings it."
        ) from error
    if not callable(getattr(gate, "check", None)) or not isinstance(
        getattr(gate, "name", None), str
    ):
        raise UnknownPadGate(
            f"The gate {name!r} ({found.value}) has no name or no method check: see verify.pad."
        )
    return gate


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
