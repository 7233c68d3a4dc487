"""The commands that decide and measure: verify, identify, compare, profiles, audit, evaluate."""

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
from verify.errors import NoCalibration
from verify.neighbours import NEIGHBOURS
from verify.opening import Parts, Places
from verify.output import as_csv, as_json, as_line, as_table, error_values

if TYPE_CHECKING:
    from verify.evaluation import ClusteringResult, IdentificationResult, VerificationResult
    from verify.pad import Pad
    from verify.pad_challenge import Side, Status
    from verify.photos import IdentifiedPhoto
    from verify.photoset import PhotoSet
    from verify.probability import Reliability
    from verify.profiles import Rates

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


def _sides(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[Side, ...] | None:
    """Sides between commas, or wrong usage."""
    if value is None:
        return None
    cells = [cell.strip() for cell in value.split(",")]
    sides: list[Side] = [s for cell in cells for s in ("left", "right") if cell == s]
    if len(sides) != len(cells):
        raise click.BadParameter(f"{value!r} is no list of sides such as left,right,left.")
    return tuple(sides)


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
        help="Encoder; default: what the gallery was made with, else VULTUS_MODEL, "
        "else vultus-face-1.",
    ),
    click.option(
        "--detector",
        type=click.Choice(["yunet", "whole"]),
        help="yunet finds faces; whole takes the picture as it is. "
        "[default: whole for the encoder picture, else yunet]",
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
        help="What runs the encoder; default: OpenVINO where it is installed, and for one photo "
        "OpenCV, which starts first.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(1),
        default=MAX_PIXELS,
        show_default=True,
        metavar="N",
        help="Refuse photos with more pixels.",
    ),
    click.option(
        "--key-file",
        metavar="PATH",
        envvar="VULTUS_KEY_FILE",
        show_envvar=True,
        help="What opens a sealed gallery: a key file, or keyring:NAME; see vultus seal.",
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
    show_default=f"{DEFAULT_FMR:g}, or the profile's",
    metavar="RATE",
    help="How often a stranger may pass: the false-match rate.",
)
unsure_fmr_option = click.option(
    "--unsure-fmr",
    type=float,
    callback=_rate,
    show_default="10 times --fmr, or the profile's",
    metavar="RATE",
    help="The second rate: between the two the answer is unsure.",
)
profile_option = click.option(
    "--profile",
    metavar="NAME",
    help="Rates by name: gate, hall, border, or your own; see vultus profiles. Options win.",
)
extrapolate_option = click.option(
    "--extrapolate",
    is_flag=True,
    help="Answer at rates below what the calibration's counts show, from a fitted tail; answers "
    "say so.",
)
explain_option = click.option(
    "--explain",
    is_flag=True,
    help="Tell why: nearest photos, next person, probability, rates, quality.",
)


def _ordered(option: str, first: float | None, second: float | None) -> None:
    """Wrong usage where the second rate is below the first."""
    if first is not None and second is not None and second < first:
        raise click.BadParameter(
            f"{second:g} is below the first rate, {first:g}.", param_hint=f"--unsure-{option}"
        )


def _rates(
    parts: Parts, profile: str | None, kind: str, first: float | None, second: float | None
) -> Rates:
    """The rates given, else those of the profile; see `verify.profiles.rates_of`."""
    from verify.profiles import Rates, rates_of

    if profile is None:
        return Rates(first, second)
    with parts.store.read() as session:
        rates = rates_of(session, profile, kind, first, second)
    _ordered(kind, rates.first, rates.second)
    return rates


_PAD_OPTIONS = (
    click.option(
        "--pad",
        type=click.Choice(["off", "observe", "require"]),
        help="Ask whether a living face stood there: observe tells, require also decides. "
        "[default: off; require with --challenge]",
    ),
    click.option(
        "--pad-gate",
        metavar="NAME",
        help="Which gate looks at the frames. [default: recapture, a heuristic; with --challenge "
        "none]",
    ),
    click.option(
        "--challenge",
        is_flag=True,
        help="Have the person turn the head as asked, in an order drawn at random.",
    ),
    click.option(
        "--turns",
        metavar="SIDE,SIDE,…",
        callback=_sides,
        help="With --challenge and a video: the turns that were asked when it was recorded, such "
        "as left,right,left.",
    ),
)


def pad_options(command: Command[T]) -> Command[T]:
    """The options of presentation attack detection, as one argument `pad`; it needs `source`."""

    @functools.wraps(command)
    def collected(*args: object, **values: Any) -> T:  # noqa: ANN401 - click passes what it parsed
        asked = [values.pop(name) for name in ("pad", "pad_gate", "challenge", "turns")]
        _check_pad(values, *asked)
        return command(*args, pad=_pad(*asked), **values)

    for option in reversed(_PAD_OPTIONS):
        collected = option(collected)
    return collected


def _check_pad(
    values: dict[str, Any],
    mode: str | None,
    gate: str | None,
    challenge: bool,
    turns: tuple[Side, ...] | None,
) -> None:
    """Wrong usage where options of presentation attack detection do not go together."""
    given = click.get_current_context().get_parameter_source("timeout")
    live = values["source"].isdecimal() or "://" in values["source"]
    wrong = {
        "--pad off does not go with --challenge.": mode == "off" and challenge,
        "--pad-gate goes with --pad observe, --pad require or --challenge.": gate is not None
        and mode in {None, "off"}
        and not challenge,
        "--turns goes with --challenge.": turns is not None and not challenge,
        "--turns is for a recorded video: before a camera the order is drawn at random.": turns
        is not None
        and live,
        "--timeout does not go with --challenge, which gives each turn its time.": challenge
        and given is click.core.ParameterSource.COMMANDLINE,
        "--challenge needs a face: it does not go with --detector whole.": challenge
        and values["detector"] == "whole",
    }
    for message, holds in wrong.items():
        if holds:
            raise click.UsageError(message)


def _pad(
    mode: str | None, gate: str | None, challenge: bool, turns: tuple[Side, ...] | None
) -> Pad:
    """What is asked of presentation attack detection."""
    from verify.pad import DEFAULT_GATE, OFF, Pad, open_gate

    mode = mode or ("require" if challenge else "off")
    if mode == "off":
        return OFF
    if gate is None and not challenge:
        gate = DEFAULT_GATE
    opened = None if gate is None else open_gate(gate)
    asking = None
    if challenge:
        from verify.pad_camera import Asking

        asking = Asking(turns, say=_instructions())
    return Pad("observe" if mode == "observe" else "require", opened, asking)


def _instructions() -> Callable[[Status], None]:
    """Tell each new instruction and each new hint on stderr."""
    told = ["", ""]

    def say(status: Status) -> None:
        if status.result is None and [status.text, status.hint] != told:
            told[:] = status.text, status.hint
            hint = f" ({status.hint})" if status.hint else ""
            click.echo(f"{status.step + 1}/{status.steps}: {status.text}{hint}", err=True)

    return say


def _parts_for(places: Places, *sources: str) -> Parts:
    """The parts for a few photos, their encoder being opened already; a video is many photos."""
    from verify.sources import is_moving

    parts = Parts(places, few=not any(map(is_moving, sources)))
    parts.open_ahead()
    return parts


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
  vultus verify ann --source rtsp://gate/1 --timeout 5 --format json
  vultus verify ann --source 0 --challenge         (turn the head as asked)
  vultus verify ann --source capture.jpg --pad observe""",
)
@click.argument("person")
@click.option(
    "--source",
    required=True,
    metavar="PATH|VIDEO|0|URL",
    help="A photo, a video, a camera's number or a stream.",
)
@fmr_option
@unsure_fmr_option
@profile_option
@extrapolate_option
@explain_option
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
@pad_options
@gallery_options
@format_option("table", "json")
def verify(
    person: str,
    source: str,
    fmr: float | None,
    unsure_fmr: float | None,
    profile: str | None,
    extrapolate: bool,
    explain: bool,
    site: str | None,
    on_multiple: str,
    frames: int,
    timeout: float,
    pad: Pad,
    places: Places,
    form: str,
) -> None:
    """Compare a capture with a stored PERSON: yes, no, or unsure.

    The threshold follows from the calibration for the asked false-match rate, over all of the
    person's templates. Exits with 0 for yes, 1 for no, 2 for unsure or an unusable capture.

    Yes says who, never that a living person stood there: that is asked by --pad and --challenge.
    """
    from verify.person import CaptureRules, verify_person

    _ordered("fmr", DEFAULT_FMR if fmr is None and profile is None else fmr, unsure_fmr)
    rules = CaptureRules(on_multiple, frames=frames, timeout=timeout)
    with _parts_for(places, source) as parts:
        begun = time.perf_counter()
        rates = _rates(parts, profile, "fmr", fmr, unsure_fmr)
        decision = verify_person(
            parts, person, source, fmr=DEFAULT_FMR if rates.first is None else rates.first,
            unsure=rates.second, site=site, rules=rules, extrapolate=extrapolate, explain=explain,
            pad=pad,
        )  # fmt: skip
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
@unsure_fmr_option
@profile_option
@extrapolate_option
@on_multiple_option
@gallery_options
@format_option("table", "json")
def compare(
    first: str,
    second: str,
    fmr: float | None,
    unsure_fmr: float | None,
    profile: str | None,
    extrapolate: bool,
    on_multiple: str,
    places: Places,
    form: str,
) -> None:
    """Compare the faces of two photos, videos or cameras: yes, no, or unsure."""
    from verify.person import CaptureRules, compare_captures

    _ordered("fmr", DEFAULT_FMR if fmr is None and profile is None else fmr, unsure_fmr)
    with _parts_for(places, first, second) as parts:
        begun = time.perf_counter()
        rules = CaptureRules(on_multiple)
        rates = _rates(parts, profile, "fmr", fmr, unsure_fmr)
        found = compare_captures(
            parts, first, second, fmr=DEFAULT_FMR if rates.first is None else rates.first,
            unsure=rates.second, rules=rules, extrapolate=extrapolate,
        )  # fmt: skip
        _print_decision(found.decision, found.to_dict(), parts, begun, form)
    leave(EXIT[found.decision.match])


def _doubt(parts: Parts) -> None:
    """Say that a curve of faces tells nothing of pictures of things."""
    if parts.detector == "whole" and parts.calibration_id is None:
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
    click.echo(f"presentation: {decision.pad}")
    if decision.explanation is not None:
        for line in decision.explanation.lines():
            click.echo(f"  {line}")


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
    "--unsure-fpir",
    type=float,
    callback=_rate,
    show_default="10 times --fpir, or the profile's",
    metavar="RATE",
    help="The second rate: between the two the answer is unsure.",
)
@profile_option
@extrapolate_option
@explain_option
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
    unsure_fpir: float | None,
    profile: str | None,
    extrapolate: bool,
    explain: bool,
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
    _ordered("fpir", fpir, unsure_fpir)
    with Parts(places) as parts:
        wanted = list(sites) or None
        rates = _rates(parts, profile, "fpir", fpir, unsure_fpir)
        for photo in identify_photos(
            parts, photos, fpir=rates.first, unsure=rates.second, k=k, sites=wanted,
            on_multiple=on_multiple, extrapolate=extrapolate, explain=explain,
        ):  # fmt: skip
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
                f"{who.threshold:.3f}, FPIR {who.fpir:.2g} in {who.gallery_size} templates"
                f"{', extrapolated' if who.extrapolated else ''}; face {w}×{h} at {x},{y})"
            )
            for line in [] if face.explanation is None else face.explanation.lines():
                click.echo(f"    {line}")


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


@click.group(
    short_help="The error rates of sites, by name.",
    epilog="""\b
Examples:
  vultus profiles list              (then: vultus verify ann --source 0 --profile gate)
  vultus profiles set canteen --fmr 0.01 --fpir 0.05 --unsure 2""",
)
def profiles() -> None:
    """Profiles: false-match rates under a name, for `--profile`."""


@profiles.command(
    "list",
    epilog="\b\nExamples:\n  vultus profiles list\n  vultus profiles list --format json",
)
@gallery_options
@format_option("table", "json")
def list_profiles(places: Places, form: str) -> None:
    """List the gallery's own profiles and the built-in ones."""
    from verify.profiles import profiles as known

    with Parts(places) as parts, parts.store.read() as session:
        found = known(session)
    if form == "json":
        click.echo(as_json([profile.to_dict() for profile in found]))
        return
    rows = [
        (p.name, f"{p.fmr:g}", f"{p.fpir:g}", f"{p.unsure:g}", "built in" if p.built_in else "own")
        for p in found
    ]
    click.echo(as_table(rows, ("name", "FMR", "FPIR", "unsure up to ×", "")))


@profiles.command(
    "set",
    epilog="\b\nExamples:\n  vultus profiles set canteen --fmr 0.01 --fpir 0.05 --unsure 2\n"
    "  vultus profiles set gate --fmr 1e-4 --fpir 0.01",
)
@click.argument("name")
@click.option(
    "--fmr",
    type=float,
    callback=_rate,
    required=True,
    metavar="RATE",
    help="How often a stranger may pass as the person claimed.",
)
@click.option(
    "--fpir",
    type=float,
    callback=_rate,
    required=True,
    metavar="RATE",
    help="How often a stranger may be taken for somebody of the gallery.",
)
@click.option(
    "--unsure",
    type=click.FloatRange(1.0, 1e6),
    default=10.0,
    show_default=True,
    metavar="FACTOR",
    help="Up to how many times these rates the answer is unsure; 1: never.",
)
@gallery_options
def set_profile(name: str, fmr: float, fpir: float, unsure: float, places: Places) -> None:
    """Keep a profile; one named as a built-in one stands in for it."""
    from store.profiles import put_profile

    with Parts(places) as parts, parts.store.begin() as session:
        kept = put_profile(session, name, fmr=fmr, fpir=fpir, unsure=unsure).name
    click.echo(f"{kept}: FMR {fmr:g}, FPIR {fpir:g}, unsure up to {unsure:g} times that.")


@profiles.command("remove", epilog="\b\nExample:\n  vultus profiles remove canteen")
@click.argument("name")
@gallery_options
def remove_profile(name: str, places: Places) -> None:
    """Delete one of the gallery's own profiles; a built-in one of that name is back then."""
    from verify.profiles import drop_profile

    with Parts(places) as parts, parts.store.begin() as session:
        drop_profile(session, name)
    click.echo(f"{name} is removed.")


@click.group(
    short_help="What was done, by whom; is the log whole, do the scores hold?",
    epilog="\b\nExamples:\n  vultus audit log --since 2026-11-01\n  vultus audit verify\n"
    "  vultus audit scores --days 7",
)
def audit() -> None:
    """The log of what was done, and checks over it and over the decisions on record."""


@audit.command(
    epilog="\b\nExamples:\n  vultus audit scores\n  vultus audit scores --days 7 --format json",
)
@click.option(
    "--days",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="DAYS",
    help="How far back to look.",
)
@gallery_options
@format_option("table", "json")
def scores(days: float, places: Places, form: str) -> None:
    """Compare the similarities of recent decisions with the calibration, camera by camera.

    A yes counts as genuine, a no as a stranger. Exits with 1 where a camera has drifted the
    harmful way: genuine people less similar, or strangers more similar, than promised.
    """
    from verify.drift import audit_scores

    with Parts(places) as parts:
        found = audit_scores(parts, days)
    if form == "json":
        click.echo(as_json(found.to_dict()))
    else:
        rows = [
            (d.camera, d.kind, d.count, d.distance, d.chance, d.effect, d.verdict)
            for d in found.drifts
        ]
        head = ("camera", "kind", "decisions", "KS distance", "chance", "effect", "")
        click.echo(as_table(rows, head))
        for line in found.remarks():
            click.echo(line)
    leave(1 if found.warnings else 0)


def _evaluation_options(command: Command[T]) -> Command[T]:
    """The options that all evaluations share."""
    path = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option("--report", "page", type=path, help="Also write an HTML report."),
        click.option("--json", "values", type=path, help="Also write the result as JSON."),
        click.option("--quiet", is_flag=True, help="No progress bar."),
        click.option(
            "--seed",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Of folds, splits and the bootstrap.",
        ),
        click.option(
            "--drop-failures",
            is_flag=True,
            help="Leave photos without a usable face out of the rates; else they are errors.",
        ),
        click.option(
            "--on-multiple",
            type=click.Choice(["centre", "largest"]),
            default="centre",
            show_default=True,
            help="Which face of a photo with several.",
        ),
    ):
        command = option(command)
    return command


def _share(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    """Wrong usage where a share is none; NaN is none either."""
    if value is not None and not 0.0 <= value < 1.0:
        raise click.BadParameter(f"{value:g} is no share: give a number from 0 to below 1.")
    return value


def _numbers(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """Whole numbers from 1 between commas, or wrong usage."""
    if value is None:
        return None
    cells = [cell.strip() for cell in value.split(",")]
    if not all(cell.isdecimal() and int(cell) > 0 for cell in cells):
        raise click.BadParameter(f"{value!r} is no list of numbers such as 100,1000.")
    return tuple(int(cell) for cell in cells)


def _tell_evaluation(
    result: VerificationResult | IdentificationResult | ClusteringResult,
    form: str,
    page: Path | None,
    values: Path | None,
    reliability: Reliability | None = None,
) -> None:
    """Print a result, and write it where asked."""
    from verify.evaluation_text import text

    told = as_json(result.to_dict())
    click.echo(told if form == "json" else text(result))
    if values is not None:
        values.write_text(told + "\n", encoding="utf-8")
    if page is not None:
        from verify.report import write_report

        write_report(result, page, reliability=reliability)


def _reliability_in_force(parts: Parts) -> Reliability | None:
    """The held-out check of the calibration in force, or None where there is none."""
    try:
        curve = parts.calibration.probability
    except NoCalibration:
        return None
    return None if curve is None else curve.reliability


folder_argument = click.argument(
    "folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False, exists=True)
)


@click.group(
    short_help="Measure error rates on your own pictures.",
    epilog="""\b
Examples:
  vultus evaluate verification lfw/ --pairs pairs.txt
  vultus evaluate identification people/ --enrol 2
  vultus evaluate clustering people/
  vultus evaluate classification shoes/ --model picture""",
)
def evaluate() -> None:
    """Measure how often an encoder is wrong on a folder of people (DIR/Name/*.jpg).

    Rates and terms are those of ISO/IEC 19795-1, each with its 95 % interval; a figure that the
    data cannot support is shown as unsupported.
    """


@evaluate.command(
    "verification",
    epilog="""\b
Examples:
  vultus evaluate verification lfw/ --pairs pairs.txt
  vultus evaluate verification lfw-dev/ --pairs pairs-test.txt --threshold-pairs pairs-train.txt
  vultus evaluate verification people/ --all-pairs --by people.csv --report report.html""",
)
@folder_argument
@click.option(
    "--pairs",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Pairs in LFW's form, or csv: a,b,same.",
)
@click.option("--all-pairs", is_flag=True, help="Compare all pairs of the folder's photos.")
@click.option(
    "--threshold-pairs",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Choose the thresholds of accuracy and validation rate on these pairs.",
)
@click.option(
    "--people", type=click.IntRange(2), metavar="N", help="With --all-pairs: draw N people."
)
@click.option(
    "--by",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A csv table, person (or file) and any columns: rates for each of their values.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --all-pairs: also write the curve; vultus calibrate import FILE --use uses it.",
)
@click.option(
    "--by-fmr",
    type=click.FloatRange(0, 0.1, min_open=True),
    default=1e-3,
    show_default=True,
    metavar="RATE",
    help="The false-match rate at which the values of --by are compared.",
)
@_evaluation_options
@gallery_options
@format_option("table", "json")
def evaluate_pairs(
    folder: Path,
    pairs: Path | None,
    all_pairs: bool,
    threshold_pairs: Path | None,
    people: int | None,
    by: Path | None,
    calibration: Path | None,
    by_fmr: float,
    on_multiple: str,
    drop_failures: bool,
    seed: int,
    quiet: bool,
    page: Path | None,
    values: Path | None,
    places: Places,
    form: str,
) -> None:
    """Compare pairs of photos: accuracy, ROC, EER, FNMR at FMR 1e-1 to 1e-6."""
    from verify.evaluate import PairSource, Rules, evaluate_verification

    if (pairs is None) != all_pairs:
        raise click.UsageError("Give either --pairs FILE or --all-pairs.")
    if all_pairs and threshold_pairs is not None:
        raise click.UsageError("--threshold-pairs goes with --pairs FILE.")
    if people is not None and not all_pairs:
        raise click.UsageError("--people goes with --all-pairs.")
    if calibration is not None and not all_pairs:
        raise click.UsageError("--calibration goes with --all-pairs.")
    rules = Rules(places.detector, on_multiple, drop_failures, seed, quiet)
    source = PairSource(pairs, threshold_pairs, people, by, by_fmr)
    with Parts(places) as parts:
        space = parts.card.space

        def keep(photos: PhotoSet) -> None:
            if calibration is not None:
                from verify.calibrating import of_photos

                curve = as_json(of_photos(photos, space).to_dict())
                calibration.write_text(curve + "\n", encoding="utf-8")

        result = evaluate_verification(parts.embedder, folder, source, rules, keep)
        reliability = _reliability_in_force(parts)
    _tell_evaluation(result, form, page, values, reliability)


@evaluate.command(
    "identification",
    epilog="""\b
Examples:
  vultus evaluate identification people/ --enrol 2
  vultus evaluate identification gallery/ --probes probes/ --sizes 100,1000
  vultus evaluate identification people/ --left-out 0.5 --json rates.json""",
)
@folder_argument
@click.option(
    "--probes",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A folder of probes; DIR is the gallery then. People of other names are strangers.",
)
@click.option(
    "--enrol",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Without --probes: enrolment photos a person.",
)
@click.option(
    "--left-out",
    type=float,
    callback=_share,
    metavar="SHARE",
    help="Without --probes: share of the people who could be enrolled that is not. [default: 0 "
    "where as many people have too few photos, else 0.3]",
)
@click.option(
    "--sizes",
    metavar="N,N,…",
    callback=_numbers,
    help="Numbers of people to enrol. [default: all, half, a quarter, …]",
)
@_evaluation_options
@gallery_options
@format_option("table", "json")
def evaluate_searches(
    folder: Path,
    probes: Path | None,
    enrol: int,
    left_out: float | None,
    sizes: tuple[int, ...] | None,
    on_multiple: str,
    drop_failures: bool,
    seed: int,
    quiet: bool,
    page: Path | None,
    values: Path | None,
    places: Places,
    form: str,
) -> None:
    """Search for people in a gallery: CMC, FNIR at FPIR 0.003, 0.01, 0.1, by gallery size."""
    from verify.evaluate import Rules, SearchSource, evaluate_identification

    rules = Rules(places.detector, on_multiple, drop_failures, seed, quiet)
    if probes is not None and left_out is not None:
        raise click.UsageError("--left-out splits one folder: it does not go with --probes.")
    source = SearchSource(probes, enrol, left_out, sizes)
    with Parts(places) as parts:
        result = evaluate_identification(parts.embedder, folder, source, rules)
    _tell_evaluation(result, form, page, values)


@evaluate.command(
    "clustering",
    epilog="\b\nExamples:\n  vultus evaluate clustering people/\n"
    "  vultus evaluate clustering people/ --report clusters.html\n"
    "  vultus evaluate clustering shoes/ --model picture --k 10",
)
@folder_argument
@click.option(
    "--k",
    type=click.IntRange(1),
    metavar="N",
    help="k-means with N clusters; else as vultus cluster does, which without a calibration is "
    "k-means at the number it finds best.",
)
@_evaluation_options
@gallery_options
@format_option("table", "json")
def evaluate_clusters(
    folder: Path,
    k: int | None,
    on_multiple: str,
    drop_failures: bool,
    seed: int,
    quiet: bool,
    page: Path | None,
    values: Path | None,
    places: Places,
    form: str,
) -> None:
    """Cluster a folder of people as vultus cluster does, and compare with the folders."""
    from verify.cuts import cuts_of
    from verify.evaluate import Rules, evaluate_clustering

    rules = Rules(places.detector, on_multiple, drop_failures, seed, quiet)
    with Parts(places) as parts:
        try:
            cuts = cuts_of(parts.calibration) if k is None else None
        except NoCalibration:
            cuts = None
        result = evaluate_clustering(parts.embedder, folder, cuts, rules, k)
    _tell_evaluation(result, form, page, values)


@evaluate.command(
    "classification",
    epilog="""\b
Examples:
  vultus evaluate classification shoes/ --model picture
  vultus evaluate classification known/ --test new/ -k 1 --model picture
  vultus evaluate classification vectors.npz --json rates.json""",
)
@click.argument("source", metavar="DIR|NPZ", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--test",
    metavar="DIR|NPZ",
    type=click.Path(path_type=Path, exists=True),
    help="Name these by the pictures of SOURCE; else each picture of SOURCE by all others.",
)
@click.option(
    "-k",
    "neighbours",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="How many neighbours vote.",
)
@click.option(
    "--on-multiple",
    type=click.Choice(["centre", "largest"]),
    default="centre",
    show_default=True,
    help="Which face of a photo with several.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of k-means.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.option(
    "--json",
    "values",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the result as JSON.",
)
@gallery_options
@format_option("table", "json")
def evaluate_classes(
    source: Path,
    test: Path | None,
    neighbours: int,
    on_multiple: str,
    seed: int,
    quiet: bool,
    values: Path | None,
    places: Places,
    form: str,
) -> None:
    """Name pictures by their nearest neighbours: k-NN accuracy, confusions, k-means.

    For classes that are no people: a folder per class (DIR/Name/*.jpg), or an .npz with `vectors`
    and `labels`. Pictures without a usable face are left out, and told.
    """
    from verify.classification import classification
    from verify.plot_sources import everything

    with Parts(places) as parts:
        found = [
            everything(parts, place, rule=on_multiple, quiet=quiet)
            for place in (source, test)
            if place is not None
        ]
    result = classification(*found, neighbours=neighbours, seed=seed)
    told = as_json(result.to_dict())
    click.echo(told if form == "json" else result.text())
    if values is not None:
        values.write_text(told + "\n", encoding="utf-8")


@evaluate.command(
    "pad",
    epilog="""\b
Examples:
  vultus evaluate pad presentations/
  vultus evaluate pad presentations.csv --gate recapture --json rates.json""",
)
@click.argument("place", metavar="DIR|CSV", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--gate",
    metavar="NAME",
    default="recapture",
    show_default=True,
    help="Which gate; other distributions may bring more.",
)
@click.option(
    "--on-multiple",
    type=click.Choice(["centre", "largest"]),
    default="centre",
    show_default=True,
    help="Which face of a photo with several.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.option(
    "--json",
    "values",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the result as JSON.",
)
@gallery_options
@format_option("table", "json")
def evaluate_pad(
    place: Path,
    gate: str,
    on_multiple: str,
    quiet: bool,
    values: Path | None,
    places: Places,
    form: str,
) -> None:
    """Measure a gate against presentation attacks: APCER by species, BPCER, APNRR, BPNRR.

    DIR holds bona_fide/ and attack/KIND/ with photos and videos, best in a folder a person; a CSV
    has the columns file, kind (bona_fide or the attack's) and person. Rates are those of
    ISO/IEC 30107-3.
    """
    from verify.evaluate_pad import evaluate_pad as measure
    from verify.pad import open_gate

    with Parts(places) as parts:
        found = measure(
            parts.embedder, place, open_gate(gate), on_multiple=on_multiple, quiet=quiet
        )
    told = as_json(found.to_dict())
    click.echo(told if form == "json" else "\n".join(found.lines()))
    if values is not None:
        values.write_text(told + "\n", encoding="utf-8")
