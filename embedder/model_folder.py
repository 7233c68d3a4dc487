"""Encoders that were trained with Vultus: a folder for each, made by `vultus models import`.

    MODELS/NAME/card.json        its card, which file is its graph, how it may be run
                NAME-fp16.onnx   the graph

MODELS is `VULTUS_MODELS`, else `models` in the user's data folder; those that come with Vultus lie
beside this file in `encoders`, in the same form. A graph is opened only after its sha256 was found
to be the one its card names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.card import EncoderCard
from embedder.card_file import read_card
from embedder.errors import ModelUnusable, WeightsBroken, WeightsMissing
from embedder.weights import digest_of

CARD = "card.json"
SHIPPED = Path(__file__).parent / "encoders"
_RUNTIMES = {"openvino": ("bf16", "fp32"), "onnxruntime": ("fp32",)}


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """An encoder in the form an import gives it: the user's own, or one that comes with Vultus.

    Attributes:
        card: what its weights are.
        path: its ONNX file.
        runtimes: runtime → the precision it may compute in: one whose vectors are those of the
            space. A runtime that is not there has not been tried, None is for one that gives
            other vectors.
        facts: what else its card file says, as JSON values.
    """

    card: EncoderCard
    path: Path
    runtimes: Mapping[str, str | None]
    facts: Mapping[str, Any]

    def graph(self) -> Path:
        """The ONNX file, after its sha256 was checked.

        Raises:
            WeightsMissing: it is not there.
            WeightsBroken: it is another file than the card names.
        """
        if not self.path.is_file():
            raise WeightsMissing(
                f"{self.path} is not there: import the encoder anew with vultus models import."
            )
        if digest_of(self.path) != self.card.digests.get(self.path.name):
            raise WeightsBroken(
                f"{self.path} is not the file its card names (its sha256 differs): it was changed "
                "or cut off. Import the encoder anew with vultus models import --replace."
            )
        return self.path

    def refuses(self, runtime: str) -> bool:
        """Whether a runtime was found to give other vectors."""
        return runtime in self.runtimes and self.runtimes[runtime] is None

    def precision(self, runtime: str) -> str:
        """The precision a runtime may compute in; fp32 where it was never tried."""
        return self.runtimes.get(runtime) or "fp32"


def models_folder() -> Path:
    """The folder of the user's own encoders; it need not exist."""
    given = os.environ.get("VULTUS_MODELS")
    if given:
        return Path(given)
    import platformdirs

    return Path(platformdirs.user_data_dir("vultus", appauthor=False)) / "models"


def imported_names() -> list[str]:
    """The names of the user's own encoders, in order."""
    return _names_in(models_folder())


def shipped_names() -> list[str]:
    """The names of the encoders whose weights come with Vultus, in order."""
    return _names_in(SHIPPED)


def _names_in(folder: Path) -> list[str]:
    try:
        places = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    return [place.name for place in places if (place / CARD).is_file() and place.name[0] != "."]


def imported(name: str) -> ImportedModel:
    """One of the user's own encoders.

    Raises:
        WeightsMissing: there is none of that name.
        ModelUnusable: its card was damaged.
    """
    if name not in imported_names():
        raise WeightsMissing(f"There is no imported model {name!r}: vultus models list shows them.")
    return read_imported(models_folder() / name)


def own(name: str) -> ImportedModel:
    """An encoder that was trained with Vultus: one that comes with it, or an imported one.

    Raises:
        WeightsMissing: there is none of that name.
        ModelUnusable: its card was damaged.
    """
    return read_imported(SHIPPED / name) if name in shipped_names() else imported(name)


def read_imported(folder: Path) -> ImportedModel:
    """The encoder of a folder of `models_folder`.

    Raises:
        ModelUnusable: its card was damaged.
    """
    card, facts = read_card(folder / CARD)
    file, runtimes = facts.pop("file", None), facts.pop("runtimes", {})
    if card.name != folder.name or file not in card.digests or not _known(runtimes):
        raise ModelUnusable(
            f"{folder / CARD} is not as vultus models import wrote it: import the encoder anew "
            "with --replace."
        )
    return ImportedModel(card, folder / str(file), runtimes, facts)


def imported_cards() -> list[EncoderCard]:
    """The cards of the user's own encoders; one that is damaged is left out."""
    found = []
    for name in imported_names():
        try:
            found.append(imported(name).card)
        except ModelUnusable:
            continue  # `vultus models verify` tells it
    return found


def _known(runtimes: object) -> bool:
    return isinstance(runtimes, dict) and all(
        runtime in _RUNTIMES and (precision is None or precision in _RUNTIMES[runtime])
        for runtime, precision in runtimes.items()
    )
