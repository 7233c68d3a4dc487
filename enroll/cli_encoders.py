"""`vultus models list, show, import, remove, verify`: which encoders there are, and whose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedder.cli import models
from embedder.encoder import CARDS, card_of, default_model, known_models
from embedder.errors import EmbedderError, NotCommercial, WeightsMissing
from embedder.licences import Commercial, commercial
from embedder.model_folder import imported_names, shipped_names
from embedder.model_folder import own as model_of
from verify.cli import format_option, leave
from verify.output import as_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedder.card import EncoderCard
    from embedder.weights import WeightsFile

__all__ = ["models"]

Command = Callable[..., Any]
NO = 1


def _commercial_option(says: str) -> Callable[[Command], Command]:
    return click.option("--require-commercial", "required", is_flag=True, help=says)


def _origin(card: EncoderCard) -> str:
    return "built in" if card.name in CARDS else "imported"


def _values(card: EncoderCard) -> dict[str, Any]:
    """A card as JSON values, with what follows from it."""
    own = model_of(card.name) if card.name in {*shipped_names(), *imported_names()} else None
    return {
        **card.to_dict(),
        "origin": _origin(card),
        "default": card.name == default_model(),
        "commercial": commercial(card).to_dict(),
        **({} if own is None else {"file": str(own.path), "runtimes": dict(own.runtimes)}),
    }


@models.command(
    "list",
    epilog="\b\nExamples:\n  vultus models list\n  vultus models list --format json\n"
    "  vultus models list --require-commercial",
)
@_commercial_option("Only those whose weights and training data both allow commercial use.")
@format_option("table", "json")
def list_command(required: bool, form: str) -> None:
    """List the encoders with their licences and training data, the default first.

    With --require-commercial the others are told on stderr with the reason; where none is left
    the exit code is 1.
    """
    cards = known_models()
    kept = [card for card in cards if not required or commercial(card).passes]
    for card in cards:
        if card not in kept:
            click.echo(f"not {card.name}: {'; '.join(commercial(card).reasons)}", err=True)
    if form == "json":
        click.echo(as_json([_values(card) for card in kept]))
    else:
        for card in kept:
            _tell(card)
    leave(0 if kept else NO)


def _tell(card: EncoderCard) -> None:
    passes = "two passes" if card.mirror else "one pass"
    what = "things" if card.detector == "whole" else "faces"
    mark = ", default" if card.name == default_model() else ""
    use = "yes" if commercial(card).passes else "not stated to be allowed"
    click.echo(f"{card.name:14} {card.dim}-d, {what}, {passes}  {card.space}")
    click.echo(f"    {_origin(card)}{mark}; weights: {card.weights_licence}; commercial use: {use}")
    click.echo(f"    trained on: {card.trained_on}; licence of the data: {card.data_licence}")


@models.command(
    epilog="\b\nExamples:\n  vultus models show sface\n"
    "  vultus models show sface --require-commercial",
)
@click.argument("name")
@_commercial_option("Also say what allows commercial use and what does not; exit code 1 if not.")
def show(name: str, required: bool) -> None:
    """Show the card of an encoder as JSON."""
    card = card_of(name)
    click.echo(as_json(_values(card)))
    if required:
        found = commercial(card)
        _tell_verdict(card, found)
        leave(0 if found.passes else NO)


def _tell_verdict(card: EncoderCard, found: Commercial) -> None:
    """Both licences, and which of them passes, on stderr: stdout has the card."""
    for what, passes, licence in (
        ("weights", found.weights, card.weights_licence),
        ("training data", found.data, card.data_licence),
    ):
        word = "ok  " if passes else "fail"
        click.echo(f"{word} {what}: {licence or 'no licence stated'}", err=True)


@models.command(
    "import",
    short_help="Bring an exported encoder in.",
    epilog="""\b
Examples:
  vultus models import model/                    (what vultus models export wrote)
  vultus models import model/shoes-fp16.onnx     (one of several; the card lies beside it)
  vultus models import model/ --pictures people/ (they tell whether bf16 will do: faster)
  vultus models import model/ --replace --format json""",
)
@click.argument("source", metavar="DIR|FILE", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Take the place of an imported one of that name.")
@click.option(
    "--pictures",
    type=click.Path(exists=True, path_type=Path),
    metavar="DIR",
    help="Pictures as the encoder is shown them; they judge bf16 instead of drawn ones.",
)
@_commercial_option("Refuse one whose weights or training data do not allow commercial use.")
@format_option("table", "json")
def import_command(
    source: Path, replace: bool, pictures: Path | None, required: bool, form: str
) -> None:
    """Check an exported encoder and keep it: then --model NAME works everywhere.

    The card must be whole, the ONNX file the one it names by sha256, and a test run must give
    vectors that can be compared, in each runtime that is installed. Nothing is kept otherwise.
    """
    from embedder.model_import import import_model

    done = import_model(
        source, replace=replace, admit=_require if required else None,
        pictures=None if pictures is None else lambda card: _shown(card, pictures),
    )  # fmt: skip
    if form == "json":
        click.echo(as_json(done.to_dict()))
        return
    card, runs = done.model.card, done.model.runtimes
    told = ", ".join(f"{name} {precision or 'refused'}" for name, precision in runs.items())
    click.echo(f"{card.name}: {card.dim}-d, space {card.space}; runs in {told}.")
    click.echo(f"Use it with --model {card.name}, or VULTUS_MODEL={card.name}.")


def _shown(card: EncoderCard, place: Path) -> NDArray[np.uint8]:
    """Some of the pictures of a place, uint8 (N, S, S, 3), as the encoder is shown them."""
    from embedder.dataset import open_pictures
    from embedder.quantize import drawn

    return drawn(open_pictures(place, side=card.side).pixels)


def _require(card: EncoderCard) -> None:
    found = commercial(card)
    if not found.passes:
        raise NotCommercial(
            f"{card.name} was not imported: {'; '.join(found.reasons)}. Import it without "
            "--require-commercial, or state its licences when it is exported."
        )


@models.command(epilog="\b\nExample:\n  vultus models remove shoes")
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Delete an imported encoder; galleries made with it cannot be used without it."""
    from embedder.model_import import remove_model

    if not yes and not click.confirm(f"Delete the imported encoder {name}?", err=True):
        click.echo("Nothing was changed.", err=True)
        leave(130)
    click.echo(f"Removed {remove_model(name)}")


@models.command(
    epilog="\b\nExamples:\n  vultus models verify\n  vultus models verify shoes --format json\n"
    "  vultus models verify sface --require-commercial",
)
@click.argument("names", nargs=-1, metavar="[NAME]…")
@_commercial_option("Also check licences of weights and training data; exit code 1 if one fails.")
@format_option("table", "json")
def verify(names: tuple[str, ...], required: bool, form: str) -> None:
    """Check that weights are there and are what they should be: all of them, or those of NAMES.

    Those of the encoder `picture` need not be there, unless it is named.
    """
    checks = [_of_file(file, named=bool(names)) for file in _files(names)]
    own = [*shipped_names(), *imported_names()]
    checks += [_of_own(name) for name in own if not names or name in names]
    verdicts = [_verdict(name) for name in names or _usable(checks)] if required else []
    if form == "json":
        told = [{k: v for k, v in one.items() if k != "error"} for one in checks]
        click.echo(as_json({"files": told, **({"commercial": verdicts} if required else {})}))
    else:
        for one in checks:
            click.echo(f"{one['state']:4} {one['file']}  {one['says']}")
        for one in verdicts:
            said = "; ".join(one["reasons"]) or "weights and training data allow commercial use"
            click.echo(f"{'ok' if one['passes'] else 'no':4} {one['name']}  {said}")
    faults = [one["error"] for one in checks if one["error"] is not None]
    if faults and form == "json":
        click.echo(f"vultus: {faults[0]}", err=True)
        leave(int(faults[0].exit_code))
    if faults:
        raise faults[0]
    leave(0 if all(one["passes"] for one in verdicts) else NO)


def _verdict(name: str) -> dict[str, Any]:
    return {"name": name, **commercial(card_of(name)).to_dict()}


def _usable(checks: list[dict[str, Any]]) -> list[str]:
    """The encoders whose weights are there."""
    good = {one["file"] for one in checks if one["state"] == "ok"}
    own = {*shipped_names(), *imported_names()}
    files = {card.name: next(iter(card.digests)) for card in known_models()}
    return [name for name, file in files.items() if file in good or name in own]


def _files(names: tuple[str, ...]) -> list[WeightsFile]:
    """The known files; of named encoders theirs."""
    from embedder.weights import KNOWN

    if not names:
        return list(KNOWN)
    wanted = {file for name in names for file in card_of(name).digests}
    return [file for file in KNOWN if file.name in wanted]


def _of_file(file: WeightsFile, *, named: bool) -> dict[str, Any]:
    """What is to be said of a known file."""
    from embedder.weights import where

    facts: dict[str, Any] = {"file": file.name, "sha256": file.sha256, "error": None}
    try:
        return {**facts, "state": "ok", "says": f"{file.sha256[:16]}…  from {where(file)}"}
    except EmbedderError as error:
        if file.optional and not named and isinstance(error, WeightsMissing):
            return {**facts, "state": "none", "says": f"not installed; {file.remedy}"}
        return {**facts, "state": "bad", "says": str(error), "error": error}


def _of_own(name: str) -> dict[str, Any]:
    """What is to be said of an encoder that was trained with Vultus."""
    facts: dict[str, Any] = {"file": name, "sha256": None, "error": None}
    try:
        model = model_of(name)
        facts |= {"file": model.path.name, "sha256": model.card.digests[model.path.name]}
        path = model.graph()
    except EmbedderError as error:
        return {**facts, "state": "bad", "says": str(error), "error": error}
    says = f"{facts['sha256'][:16]}…  {_origin(model.card)}, {path}"
    return {**facts, "state": "ok", "says": says}
