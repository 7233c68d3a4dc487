"""The commands that decide: verify, identify, compare, calibrate; and the options all share."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click

from embedder.photo import MAX_PIXELS
from verify.decision import DEFAULT_FMR, Decision
from verify.identify import NEIGHBOURS
from verify.opening import Parts, Places
from verify.output import as_csv, as_json, as_line, as_table, error_values

if TYPE_CHECKING:
    from verify.photos import IdentifiedPhoto

P = ParamSpec("P")
T = TypeVar("T")
Command = Callable[..., T]

EXIT = {"yes": 0, "no": 1, "unsure": 2}
_COLOUR = {"yes": "green", "no": "red", "unsure": "yellow"}


def _engine_url(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Wrong usage where `--index` names no engine."""
    if value is not None:
        from index.errors import UnknownEngine
        from index.opening import read_url

        try:
            read_url(value)
        except UnknownEngine as error:
            raise click.BadParameter(str(error)) from error
    return value


def _rate(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    """Wrong usage where a rate is no rate; NaN is none either."""
    if value is not None and not 0.0 < value < 1.0:
        raise click.BadParameter(f"{value:g} is no rate: give a number between 0 and 1.")
    return value


_SHARED = (
    click.option(
        "--database",
        metavar="URL",
        envvar="VULTUS_DATABASE",
        show_envvar=True,
        help="SQLAlchemy URL or path of an SQLite file; default: in your data folder.",
    ),
    click.option(
        "--index",
        metavar="URL",
        envvar="VULTUS_INDEX",
        show_envvar=True,
        callback=_engine_url,
        help="Engine of the index, such as faiss:PATH, exact:PATH or memory:.",
    ),
    click.option(
        "--model",
        metavar="NAME",
        help="Encoder; default: what the gallery was made with, else VULTUS_MODEL, else sface.",
    ),
    click.option(
        "--detector",
        type=click.Choice(["yunet", "whole"]),
        default="yunet",
        show_default=True,
        help="yunet finds faces; whole takes the picture as it is.",
    ),
    click.option(
        "--device",
        type=click.Choice(["cpu", "cuda"]),
        envvar="VULTUS_DEVICE",
        show_envvar=True,
        help="Where the encoder runs; cuda fails where it cannot.",
    ),
    click.option(
        "--runtime",
        type=click.Choice(["openvino", "onnxruntime"]),
        help="What runs the encoder; default: OpenVINO where it is installed.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(1),
        default=MAX_PIXELS,
        show_default=True,
        metavar="N",
        help="Refuse photos with more pixels.",
    ),
)


def gallery_options(command: Command[T]) -> Command[T]:
    """The options that say where a gallery is and what works on it, as one argument `places`."""

    @functools.wraps(command)
    def collected(*args: object, **values: Any) -> T:  # noqa: ANN401 - click passes what it parsed
        chosen = {field.name: values.pop(field.name) for field in fields(Places)}
        return command(*args, places=Places(**chosen), **values)

    for option in reversed(_SHARED):
        collected = option(collected)
    return collected


def format_option(*kinds: str) -> Callable[[Command[T]], Command[T]]:
    """`--format`, the first kind being the default; failures are told in that format too."""

    def decorate(command: Command[T]) -> Command[T]:
        @functools.wraps(command)
        def reported(*args: object, form: str, **values: Any) -> T:  # noqa: ANN401 - click passes what it parsed
            try:
                return command(*args, form=form, **values)
            except click.exceptions.Exit:
                raise
            except Exception as error:
                if form in {"json", "jsonl"} and hasattr(error, "exit_code"):
                    click.echo(as_line(error_values(error)))
                raise

        return click.option(
            "--format",
            "form",
            type=click.Choice(kinds),
            default=kinds[0],
            show_default=True,
            help="How results are printed.",
        )(reported)

    return decorate


on_multiple_option = click.option(
    "--on-multiple",
    type=click.Choice(["reject", "largest", "centre"]),
    default="reject",
    show_default=True,
    help="What to do with a photo of several faces of comparable size.",
)
fmr_option = click.option(
    "--fmr",
    type=float,
    callback=_rate,
    default=DEFAULT_FMR,
    show_default=True,
    metavar="RATE",
    help="How often a stranger may pass: the false-match rate.",
)


def leave(code: int) -> NoReturn:
    """End the command with an exit code."""
    click.get_current_context().exit(code)
    raise AssertionError  # exit() does not return


@click.command(
    short_help="Is this the person they claim to be?",
    epilog="""\b
Examples:
  vultus verify "Ann Lee" --source capture.jpg
  vultus verify ann --source 0 --fmr 1e-4          (a camera)
  vultus verify ann --source rtsp://gate/1 --timeout 5 --format json""",
)
@click.argument("person")
@click.option(
    "--source",
    required=True,
    metavar="PATH|VIDEO|0|URL",
    help="A photo, a video, a camera's number or a stream.",
)
@fmr_option
@click.option("--site", help="Look for the person only in this site.")
@on_multiple_option
@click.option(
    "--frames",
    type=click.IntRange(1, 50),
    default=5,
    show_default=True,
    help="How many good frames of a video or camera to fuse.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a video or camera may take.",
)
@gallery_options
@format_option("table", "json")
def verify(
    person: str,
    source: str,
    fmr: float,
    site: str | None,
    on_multiple: str,
    frames: int,
    timeout: float,
    places: Places,
    form: str,
) -> None:
    """Compare a capture with a stored PERSON: yes, no, or unsure.

    The threshold follows from the calibration for the asked false-match rate, over all of the
    person's templates. Exits with 0 for yes, 1 for no, 2 for unsure or an unusable capture.
    """
    from verify.person import CaptureRules, verify_person

    rules = CaptureRules(on_multiple, frames=frames, timeout=timeout)
    with Parts(places) as parts:
        begun = time.perf_counter()
        decision = verify_person(parts, person, source, fmr=fmr, site=site, rules=rules)
        _print_decision(decision, decision.to_dict(), parts, begun, form)
    leave(EXIT[decision.match])


@click.command(
    short_help="Do two photos show the same person?",
    epilog="""\b
Examples:
  vultus compare passport.jpg selfie.jpg
  vultus compare a.jpg b.jpg --fmr 1e-4 --format json""",
)
@click.argument("first")
@click.argument("second")
@fmr_option
@on_multiple_option
@gallery_options
@format_option("table", "json")
def compare(
    first: str, second: str, fmr: float, on_multiple: str, places: Places, form: str
) -> None:
    """Compare the faces of two photos, videos or cameras: yes, no, or unsure."""
    from verify.person import CaptureRules, compare_captures

    with Parts(places) as parts:
        begun = time.perf_counter()
        rules = CaptureRules(on_multiple)
        found = compare_captures(parts, first, second, fmr=fmr, rules=rules)
        _print_decision(found.decision, found.to_dict(), parts, begun, form)
    leave(EXIT[found.decision.match])


def _doubt(parts: Parts) -> None:
    """Say that a curve of faces tells nothing of pictures of things."""
    if parts.places.detector == "whole" and parts.calibration_id is None:
        click.echo(
            f"The error rates are those of faces ({parts.calibration.source}), not of whole "
            "pictures: calibrate on your own with: vultus calibrate FOLDER --detector whole.",
            err=True,
        )


def _print_decision(
    decision: Decision, values: dict[str, Any], parts: Parts, begun: float, form: str
) -> None:
    _doubt(parts)
    if form == "json":
        about = {"device": device_of(parts), "time_ms": _since(begun)}
        click.echo(as_json(values | about))
        return
    answer = click.style(decision.match, fg=_COLOUR[decision.match], bold=True)
    who = "" if decision.person is None else f"  {decision.person}"
    click.echo(f"{answer}{who}")
    against = f", over {decision.templates} templates" if decision.templates > 1 else ""
    click.echo(
        f"similarity {decision.similarity:.3f}; yes from {decision.threshold:.3f}, unsure from "
        f"{decision.unsure_above:.3f}: false-match rate {decision.fmr:.2g}{against} "
        f"({parts.calibration.source})"
    )
    for reason in decision.reasons:
        click.echo(reason)


def device_of(parts: Parts) -> str:
    """Device, runtime and precision of the encoder in use, such as `cpu openvino bf16`."""
    network = getattr(parts.embedder.encoder, "network", None)
    if network is None:
        return "unknown"
    return f"{network.device} {network.runtime} {network.precision}"


def _since(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 1)


@click.command(
    short_help="Who is in these photos? Nobody is an answer.",
    epilog="""\b
Examples:
  vultus identify party.jpg
  vultus identify photos/*.jpg --format csv          (as face_recognition prints)
  vultus identify shot.jpg --fpir 0.001 --site gym""",
)
@click.argument("photos", nargs=-1, required=True)
@click.option(
    "--fpir",
    type=float,
    callback=_rate,
    metavar="RATE",
    help="How often a stranger may be taken for somebody of the gallery. [default: 0.01, "
    "or the smallest rate the calibration supports for the gallery's size]",
)
@click.option(
    "-k",
    type=click.IntRange(1, 2048),
    default=NEIGHBOURS,
    show_default=True,
    help="How many templates to look at for each face.",
)
@click.option("--site", "sites", multiple=True, help="Search only this site; may be repeated.")
@click.option(
    "--on-multiple",
    type=click.Choice(["all", "largest", "centre", "reject"]),
    default="all",
    show_default=True,
    help="Which faces of a photo.",
)
@gallery_options
@format_option("table", "json", "jsonl", "csv")
def identify(
    photos: tuple[str, ...],
    fpir: float | None,
    k: int,
    sites: tuple[str, ...],
    on_multiple: str,
    places: Places,
    form: str,
) -> None:
    """Find out who is in PHOTOS, every face of them, against everybody enrolled.

    Exits with 0 when somebody is known in some picture, 1 when nobody is, 2 when the best answer
    is unsure or no picture could be used.
    """
    from verify.photos import identify_photos

    begun = time.perf_counter()
    found = []
    with Parts(places) as parts:
        wanted = list(sites) or None
        for photo in identify_photos(
            parts, photos, fpir=fpir, k=k, sites=wanted, on_multiple=on_multiple
        ):
            found.append(photo)
            _print_photo(photo, form)
        _doubt(parts)
        if form == "json":
            about = {"model": parts.card.space, "device": device_of(parts)}
            results = [photo.to_dict() for photo in found]
            click.echo(as_json({"photos": results, **about, "time_ms": _since(begun)}))
    leave(_identify_code(found))


def _identify_code(found: list[IdentifiedPhoto]) -> int:
    answers = {photo.answer for photo in found}
    if "yes" in answers:
        return 0
    unusable = all(photo.reason not in {None, "face_not_found"} for photo in found)
    return 2 if "unsure" in answers or unusable else 1


def _print_photo(photo: IdentifiedPhoto, form: str) -> None:
    if form == "jsonl":
        click.echo(as_line(photo.to_dict()))
    elif form == "csv":
        click.echo(as_csv(_csv_rows(photo)))
    elif form == "table":
        click.echo(photo.source)
        if photo.reason is not None:
            click.echo(f"  {photo.reason}: {photo.detail}")
        for face in photo.faces:
            x, y, w, h = (round(value) for value in face.box)
            who, first = face.who, face.who.candidates[0] if face.who.candidates else None
            name = {"yes": who.person, "no": "nobody known"}.get(who.answer)
            name = name or f"unsure, perhaps {first.person if first else ''}"
            nearest = f"{first.similarity:.3f} {first.person}" if first else "an empty gallery"
            click.echo(
                f"  {click.style(name, fg=_COLOUR[who.answer])}  (nearest {nearest}; yes from "
                f"{who.threshold:.3f}, FPIR {who.fpir:.2g} in {who.gallery_size} templates; "
                f"face {w}×{h} at {x},{y})"
            )


def _csv_rows(photo: IdentifiedPhoto) -> list[tuple[str, str, object]]:
    """The rows of face_recognition: file, name, distance."""
    if not photo.faces:
        return [(photo.source, "no_persons_found", None)]
    rows: list[tuple[str, str, object]] = []
    for face in photo.faces:
        distance = 1 - face.who.candidates[0].similarity if face.who.candidates else None
        rows.append(
            (
                photo.source,
                face.who.person or "unknown_person",
                None if distance is None else round(distance, 4),
            )
        )
    return rows


@click.command(
    short_help="Learn what a similarity means from your own people.",
    epilog="""\b
Examples:
  vultus calibrate people/
  vultus calibrate people/ --format json > curve.json""",
)
@click.argument("people", type=click.Path(path_type=Path))
@click.option(
    "--on-multiple",
    type=click.Choice(["centre", "largest"]),
    default="centre",
    show_default=True,
    help="Which face of a photo with several.",
)
@gallery_options
@format_option("table", "json")
def calibrate(people: Path, on_multiple: str, places: Places, form: str) -> None:
    """Fit a calibration on a folder of PEOPLE (a folder a person) and make it the active one.

    The smallest rate it can support is 3 / (pairs of people): 100 people give 6e-4, 450 give
    3e-5. The photos are not enrolled.
    """
    from verify.calibrating import calibrate_on

    with Parts(places) as parts:
        calibration, missed = calibrate_on(parts, people, on_multiple)
        space = parts.card.space
    if form == "json":
        click.echo(as_json(calibration.to_dict()))
        return
    rows = []
    for rate, (low, high) in calibration.intervals.items():
        threshold = calibration.threshold(rate)
        interval = f"{low:.1e} – {high:.1e}"
        rows.append((f"{rate:.0e}", threshold, interval, calibration.fnmr_at(threshold)))
    click.echo(as_table(rows, ("FMR", "threshold", "95 % interval", "FNMR")))
    click.echo(
        f"{calibration.people} people, {calibration.photos} photos; smallest supported rate "
        f"{calibration.smallest_fmr:.1e}. Now in force for {space}."
    )
    if missed:
        click.echo(f"{len(missed)} photos without a usable face, the first {missed[0]}", err=True)
