"""The whole way with people who do not exist: enrol, verify, identify, cluster, name, forget.

The pictures were generated (see `enroll/people/CARD.md`) and come with the package.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from embedder.encoder import DEFAULT_MODEL
from enroll.errors import DemoFailed, OutputUnusable, PicturesMissing
from enroll.gallery import Gallery, open_gallery

_MARK = ".vultus-demo"  # in a folder that a demo made, and may therefore empty
_ENROLLED = 4  # pictures of each person that are enrolled; the rest are captures


def pictures() -> Path:
    """The folder of the generated people: `people/NAME/*.jpg` and `strangers/NAME/*.jpg`.

    Raises:
        PicturesMissing: the package was installed without them.
    """
    folder = Path(str(resources.files("enroll") / "people"))
    if not (folder / "people").is_dir() or not (folder / "strangers").is_dir():
        raise PicturesMissing("The demo's pictures are not installed: reinstall vultus.")
    return folder


def run(out: Path) -> Iterator[str]:
    """Walk the way and tell each step as lines; the answers are checked.

    Args:
        out: folder for the gallery and the contact sheet, new, empty, or of an earlier demo.

    Raises:
        DemoFailed: an answer was not the expected one.
        PicturesMissing: no pictures.
        OutputUnusable: the folder cannot be written or holds something else.
    """
    begun = time.perf_counter()
    source = pictures()
    _prepare(out)
    enrolled, captures = _share_out(source / "people", out)
    stranger = out / "captures" / "stranger.jpg"
    shutil.copy(min((source / "strangers").glob("*/*.jpg")), stranger)
    shutil.copytree(source, out / "library", ignore=shutil.ignore_patterns("*.md"))
    yield f"$ export VULTUS_DATABASE={shlex.quote(str(out / 'gallery.sqlite3'))}"
    with open_gallery(out / "gallery.sqlite3", model=DEFAULT_MODEL) as gallery:
        yield from _enrolment(gallery, out / "photos")
        yield from _verification(gallery, enrolled, captures)
        yield from _identification(gallery, captures, stranger)
        yield from _clustering(gallery, out)
        yield from _erasure(gallery, enrolled[0])
    yield f"\nDone in {time.perf_counter() - begun:.0f} s. Gallery: {out / 'gallery.sqlite3'}"
    yield f"Open the contact sheet: {out / 'sheet' / 'index.html'}"


def _prepare(out: Path) -> None:
    known = {_MARK, "photos", "captures", "library", "sheet"}
    try:
        out.mkdir(parents=True, exist_ok=True)
        inside = {path.name for path in out.iterdir()}
        foreign = {name for name in inside - known if not name.startswith("gallery.")}
        if inside and (foreign or _MARK not in inside):
            raise OutputUnusable(
                f"{out} holds other files ({min(foreign or inside)}): choose another."
            )
        (out / _MARK).touch()
        for name in sorted(inside - {_MARK}):
            path = out / name
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except OSError as error:
        raise OutputUnusable(f"{out} cannot be used ({error.strerror}): choose another.") from error


def _share_out(people: Path, out: Path) -> tuple[list[str], dict[str, Path]]:
    """Copy pictures of each person to be enrolled, and one to be a capture; names, captures."""
    captures = {}
    (out / "captures").mkdir()
    for person in sorted(people.iterdir()):
        files = sorted(person.glob("*.jpg"))
        (out / "photos" / person.name).mkdir(parents=True)
        for file in files[:_ENROLLED]:
            shutil.copy(file, out / "photos" / person.name)
        captures[person.name] = out / "captures" / f"{person.name.split()[0].lower()}.jpg"
        shutil.copy(files[_ENROLLED], captures[person.name])
    return sorted(captures), captures


def _enrolment(gallery: Gallery, photos: Path) -> Iterator[str]:
    yield f"\n$ vultus enroll {shlex.quote(str(photos))}"
    report = gallery.enroll(photos)
    yield f"  {report.layout}"
    yield f"  {report.counts['enrolled']} photos enrolled, {report.counts['rejected']} rejected"
    _expect(report.counts["rejected"] == 0, "every generated photo can be enrolled")
    again = gallery.enroll(photos).counts
    yield f"  the same again: {again['unchanged']} unchanged, nothing to do"
    _expect(again["enrolled"] == 0, "a second run does nothing")


def _verification(gallery: Gallery, names: list[str], captures: dict[str, Path]) -> Iterator[str]:
    ann, bob = names[0], names[1]
    capture = str(captures[ann])
    for claimed, truth in ((ann, "yes"), (bob, "no")):
        decision = gallery.verify(claimed, capture)
        yield f'\n$ vultus verify "{claimed}" --source {shlex.quote(capture)}'
        yield (
            f"  {decision.match}: similarity {decision.similarity:.3f}, yes from "
            f"{decision.threshold:.3f} at a false-match rate of {decision.fmr:g}"
        )
        _expect(decision.match == truth, f"{claimed} is answered {truth}")


def _identification(gallery: Gallery, captures: dict[str, Path], stranger: Path) -> Iterator[str]:
    name = sorted(captures)[2]
    for photo, truth in ((captures[name], name), (stranger, None)):
        (found,) = gallery.identify(photo)
        who = found.faces[0].who
        yield f"\n$ vultus identify {shlex.quote(str(photo))}"
        yield (
            f"  {who.person or 'nobody known'}: nearest {who.candidates[0].similarity:.3f}, yes "
            f"from {who.threshold:.3f} among {who.gallery_size} templates"
        )
        _expect(who.person == truth, f"{photo.name} is answered {truth or 'nobody'}")


def _clustering(gallery: Gallery, out: Path) -> Iterator[str]:
    library = out / "library"
    yield f"\n$ vultus cluster {shlex.quote(str(library))} --out {shlex.quote(str(out / 'sheet'))}"
    clustering = gallery.cluster(library, out / "sheet")
    people = {Path(file).parent.name for c in clustering.clusters for file in c.files}
    yield (
        f"  {len(clustering.clusters)} clusters of {clustering.faces} faces; there are "
        f"{len(people)} people ({clustering.method})"
    )
    mixed = [c for c in clustering.clusters if len({Path(f).parent for f in c.files}) > 1]
    _expect(not mixed, "no cluster mixes two people")
    unnamed = next(c for c in clustering.clusters if c.name is None)
    named = gallery.name(unnamed.number, "Somebody New")
    yield f'\n$ vultus name {unnamed.number} "Somebody New"'
    yield f"  {named.faces} faces, enrolled"
    (found,) = gallery.identify(unnamed.files[-1])
    _expect(found.faces[0].who.person == "Somebody New", "a named cluster is identified")


def _erasure(gallery: Gallery, name: str) -> Iterator[str]:
    yield f'\n$ vultus forget "{name}" --yes'
    gone = gallery.forget(name)
    yield f"  {gone.rows.templates} templates, {gone.rows.photos} photos and their crops erased"
    _expect(name not in {person.name for person in gallery.people()}, f"{name} is forgotten")


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise DemoFailed(f"The demo expected that {what}, and it is not so: run vultus doctor.")
