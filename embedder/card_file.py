"""An encoder's card as a JSON file: read back with every value checked.

A card comes from elsewhere: nothing in it is believed before its kind and range are right, and
the space it names must be the one its facts give.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path, PurePosixPath
from typing import Any

from embedder.card import ALIGNMENT, WHOLE, EncoderCard
from embedder.errors import ModelUnusable

LARGEST_CARD = 1 << 20  # bytes; a card has a few thousand
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST = 2000  # letters of a text


def read_card(path: Path) -> tuple[EncoderCard, dict[str, Any]]:
    """A card, and the other values of its file.

    Args:
        path: a JSON file, as `vultus models export` writes it.

    Raises:
        ModelUnusable: it cannot be read, or is no card.
    """
    try:
        if path.stat().st_size > LARGEST_CARD:
            raise ModelUnusable(f"{path} is too large to be a card: name an encoder's card.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        why = error.strerror or str(error)
        raise ModelUnusable(f"{path} cannot be read ({why}): check the path.") from error
    except ValueError as error:
        raise ModelUnusable(
            f"{path} is no JSON that can be read ({error}): export the encoder anew."
        ) from error
    if not isinstance(values, dict):
        raise ModelUnusable(f"{path} is no card: a card is one JSON object.")
    return card_from(values, str(path))


def card_from(values: Mapping[str, Any], where: str) -> tuple[EncoderCard, dict[str, Any]]:
    """A card of plain JSON values, and the values that are none of a card's.

    Args:
        values: as `EncoderCard.to_dict` gives them; others may be among them.
        where: what messages call them.

    Raises:
        ModelUnusable: one is missing, of another kind or out of its range; or the space that they
            name is not the one they give.
    """
    names = [field.name for field in fields(EncoderCard) if field.default is MISSING]
    missing = [name for name in names if name not in values]
    if missing:
        raise ModelUnusable(f"{where} is no card of an encoder: it lacks {', '.join(missing)}.")
    for name, (check, wanted) in _CHECKS.items():
        if not check(values[name]):
            raise ModelUnusable(f"{where}: {name} is {_short(values[name])}; it must be {wanted}.")
    facts = {name: values[name] for name in names}
    facts |= {name: tuple(map(float, values[name])) for name in ("mean", "std")}
    card = EncoderCard(**facts)
    said = values.get("space", card.space)
    if said != card.space:
        raise ModelUnusable(
            f"{where} names the space {_short(said)}, and its facts give {card.space}: it was "
            "changed after it was written. Export the encoder anew."
        )
    return card, {key: value for key, value in values.items() if key not in {*names, "space"}}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _whole(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST and value.isprintable()


def _name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _three(value: object, least: float = -math.inf) -> bool:
    """Whether something is three finite numbers, each above `least`."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(type(v) in {int, float} and math.isfinite(v) and v > least for v in value)
    )


def _digests(value: object) -> bool:
    return (
        isinstance(value, dict)
        and 0 < len(value) <= 100
        and all(_file_name(file) and _sha256(digest) for file, digest in value.items())
    )


def _sha256(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _file_name(value: object) -> bool:
    """Whether something names a file and no folder."""
    return isinstance(value, str) and _text(value) and PurePosixPath(value).name == value


_Check = tuple[Callable[[Any], bool], str]
_CHECKS: dict[str, _Check] = {
    "name": (_name, "1 to 64 letters, digits, dots, dashes and underscores"),
    "arch": (_text, "a line of text"),
    "dim": (_whole(2, 1 << 16), "a whole number from 2 to 65536"),
    "side": (_whole(8, 4096), "a whole number from 8 to 4096"),
    "mean": (_three, "three numbers"),
    "std": (lambda value: _three(value, 0.0), "three numbers above 0"),
    "order": (lambda value: value in ("RGB", "BGR"), "RGB or BGR"),
    "alignment": (lambda value: value in (ALIGNMENT, WHOLE), f"{ALIGNMENT} or {WHOLE}"),
    "mirror": (lambda value: isinstance(value, bool), "true or false"),
    "digests": (_digests, "file names with their sha256, the reference first"),
    "trained_on": (_text, "a line of text"),
    "weights_licence": (_text, "a line of text"),
    "data_licence": (_text, "a line of text"),
    "source": (_text, "a line of text"),
}
