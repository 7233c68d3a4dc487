"""Bringing an exported encoder in: its card and its graph are checked, then kept by name.

    DIR or FILE ─find─▶ card + ONNX ─digest, form, test run─▶ MODELS/NAME

Nothing is kept of an encoder that fails; a folder appears whole, or not at all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.card import EncoderCard
from embedder.card_file import LARGEST_CARD, read_card
from embedder.encoder import CARDS
from embedder.errors import ModelExists, ModelUnusable
from embedder.model_folder import CARD, ImportedModel, imported_names, models_folder, read_imported
from embedder.model_graph import check_form, try_out
from embedder.weights import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RUN = ("state.json", "best", "log.csv")
_PICKLES = (".pth", ".pt", ".pkl", ".bin", ".ckpt")


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        model: the encoder, as it can be opened by name now.
        replaced: whether one of that name was there before.
    """

    model: ImportedModel
    replaced: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        model = self.model
        return {
            "name": model.card.name, "space": model.card.space, "file": str(model.path),
            "runtimes": dict(model.runtimes), "replaced": self.replaced,
        }  # fmt: skip


def import_model(
    source: Path,
    *,
    replace: bool = False,
    admit: Callable[[EncoderCard], None] | None = None,
    pictures: Callable[[EncoderCard], NDArray[np.uint8]] | None = None,
) -> Imported:
    """Check an exported encoder and keep it in the user's models folder.

    Args:
        source: the folder of an export, its card (JSON) or its ONNX file with the card beside it.
        replace: take the place of an imported encoder of that name.
        admit: called with the card before anything is kept; it may raise.
        pictures: called with the card, gives uint8 (N, S, S, 3) of what the encoder is for, which
            judge the runtimes (`embedder.model_graph.try_out`); None: drawn ones do.

    Raises:
        ModelUnusable: no card or graph, another digest than the card names, another form, or
            vectors that cannot be compared.
        ModelExists: the name is taken.
        RuntimeMissing: nothing is installed that could run it.
        OSError: the models folder cannot be written.
    """
    card_path, wanted = locate(source)
    card, facts = read_card(card_path)
    if admit is not None:
        admit(card)
    file = _chosen(card, card_path, wanted)
    taken = _taken(card, replace=replace)
    data = _verified(file, card)
    check_form(data, card, file.name)
    shown = None if pictures is None else pictures(card)
    return Imported(_keep(card, facts, file.name, data, shown), taken)


def locate(source: Path) -> tuple[Path, str | None]:
    """The card of what was given, and the name of the graph where it was given.

    Raises:
        ModelUnusable: there is no card, or several.
    """
    if source.is_dir():
        return _card_in(source), None
    if not source.exists():
        raise ModelUnusable(f"{source} does not exist: give the folder of an export.")
    if source.suffix.lower() == ".json":
        return source, None
    if source.suffix.lower() == ".onnx":
        return _card_of(source), source.name
    if source.suffix.lower() in _PICKLES:
        raise ModelUnusable(
            f"{source} may be a pickle, which is never opened: give an ONNX file with its card."
        )
    if source.suffix.lower() == ".safetensors":
        raise _not_exported(source.parent)
    raise ModelUnusable(f"{source} is no encoder: give the folder of an export, or its ONNX file.")


def _card_in(folder: Path) -> Path:
    if any((folder / name).exists() for name in _RUN) or any(folder.glob("step-*")):
        raise _not_exported(folder)
    cards = [path for path in sorted(folder.glob("*.json")) if _names_files(path)]
    if len(cards) == 1:
        return cards[0]
    if not cards:
        raise ModelUnusable(
            f"{folder} holds no card of an encoder: give what vultus models export wrote."
        )
    names = ", ".join(card.name for card in cards)
    raise ModelUnusable(f"{folder} holds several cards ({names}): name one of them.")


def _card_of(graph: Path) -> Path:
    """The card beside a graph that names it."""
    cards = [p for p in sorted(graph.parent.glob("*.json")) if graph.name in _names_files(p)]
    if not cards:
        raise ModelUnusable(
            f"No card beside {graph} names it: an encoder needs one, which tells side, scaling, "
            "licences and sha256; see docs/encoders.md for how to write one."
        )
    return cards[0]


def _names_files(path: Path) -> tuple[str, ...]:
    """The files that a JSON file names with their digests; none where it is no card."""
    try:
        if path.stat().st_size > LARGEST_CARD:
            return ()
        values = json.loads(path.read_text(encoding="utf-8"))
        return tuple(values["digests"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _not_exported(run: Path) -> ModelUnusable:
    return ModelUnusable(
        f"{run} is a training run, not yet an encoder: export it with vultus models export {run} "
        "--out model, then import model."
    )


def _chosen(card: EncoderCard, card_path: Path, wanted: str | None) -> Path:
    """The graph to keep: the one given, else the only one that is there."""
    if wanted is not None:
        return card_path.parent / wanted
    there = [name for name in card.digests if (card_path.parent / name).is_file()]
    if len(there) == 1:
        return card_path.parent / there[0]
    if there:
        raise ModelUnusable(f"{card_path.parent} holds {', '.join(there)}: name the one to import.")
    raise ModelUnusable(
        f"None of the files that {card_path.name} names lies beside it "
        f"({', '.join(card.digests)}): give the whole folder of the export."
    )


def _taken(card: EncoderCard, *, replace: bool) -> bool:
    """Whether the name is that of an imported encoder already.

    Raises:
        ModelExists: it may not be taken.
    """
    if card.name in CARDS:
        raise ModelExists(
            f"{card.name} is the name of an encoder that comes with Vultus: train or export yours "
            "under another name (--name)."
        )
    there = card.name in imported_names()
    if there and not replace:
        raise ModelExists(
            f"There is an imported encoder {card.name} already: give --replace, or remove it with "
            f"vultus models remove {card.name}."
        )
    return there


def _verified(file: Path, card: EncoderCard) -> bytes:
    """The bytes of a graph, which are those that the card names."""
    try:
        data = file.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise ModelUnusable(f"{file} cannot be read ({why}): check the path.") from error
    if hashlib.sha256(data).hexdigest() != card.digests[file.name]:
        raise ModelUnusable(
            f"{file} is not the file its card names (its sha256 differs, {len(data)} bytes): it "
            "was cut off, changed, or belongs to another card. Copy the export again."
        )
    return data


def _keep(
    card: EncoderCard, facts: dict[str, Any], name: str, data: bytes,
    pictures: NDArray[np.uint8] | None,
) -> ImportedModel:  # fmt: skip
    """Write an encoder beside its place, try it there, and put it in place whole."""
    models = models_folder()
    models.mkdir(mode=0o700, parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=models, prefix=f".{card.name}."))
    try:
        write_atomically(work / name, data)
        runtimes = try_out(work / name, card, pictures)
        tried = "drawn pictures" if pictures is None else f"{len(pictures)} pictures given"
        values = {**card.to_dict(), **facts, "file": name, "runtimes": runtimes, "tried_on": tried}
        text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
        write_atomically(work / CARD, text.encode())
        place, old = models / card.name, work.with_name(f"{work.name}.old")
        if place.exists():
            place.rename(old)
        work.rename(place)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return read_imported(models / card.name)


def remove_model(name: str) -> Path:
    """Delete an imported encoder; the folder it was in.

    Raises:
        ModelUnusable: there is none of that name.
    """
    if name not in imported_names():
        known = ", ".join(imported_names()) or "none"
        raise ModelUnusable(f"There is no imported encoder {name!r}; imported are: {known}.")
    place = models_folder() / name
    shutil.rmtree(place)
    return place
