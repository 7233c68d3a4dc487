"""`vultus train` and `vultus models export`: from pictures to an encoder."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedder.errors import BadRecipe, RuntimeMissing

if TYPE_CHECKING:
    from embedder.recipe import Recipe
    from embedder.train import Trained

_NUMBERS = (
    ("--steps", int, "How many steps."),
    ("--batch", int, "Pictures a step, over all processes."),
    ("--per-class", int, "Pictures of each class in a batch."),
    ("--chunk", int, "Pictures encoded at once; the batch may be larger than memory allows."),
    ("--accumulate", int, "Batches whose gradients are summed before a step."),
    ("--dim", int, "Length of the vectors."),
    ("--dropout", float, "Share of features dropped while training, 0…1."),
    ("--rate", float, "Learning rate at its highest; --find-rate proposes one."),
    ("--warmup", int, "Steps until the learning rate is there."),
    ("--frozen", int, "Steps during which only the head learns."),
    ("--ema", float, "How slowly the averaged weights follow, 0…1; 0: no average."),
    ("--evaluate", int, "Steps between two validations."),
    ("--patience", int, "Validations without a better EER before it ends; 0: never."),
    ("--checkpoint", int, "Steps between two checkpoints."),
    ("--validation", float, "Share of people to validate on."),
    ("--test", float, "Share of people kept for the end."),
    ("--seed", int, "Of everything."),
)
_FIRST_FROZEN = 500  # steps the body rests when --init says fine-tune and nothing else is said


def _numbers(command: Any) -> Any:  # noqa: ANN401 - click's decorators take and give anything
    for name, kind, text in reversed(_NUMBERS):
        command = click.option(name, type=kind, help=text)(command)
    return command


@click.command(
    short_help="Train or fine-tune an encoder on your own pictures.",
    epilog="""\b
Examples:
  vultus train --data people/ --out run                    a folder per person
  vultus train mnist-triplet --data mnist.npz.xz --out mnist
  vultus train --init run --data my_people/ --out tuned    fine-tune; the head alone at first
  vultus train --self-supervised --data photos/ --out simclr
  vultus train --out run --resume                          go on after an interruption
  vultus train faces --data people/ --find-rate            propose a learning rate""",
)
@click.argument("recipe", required=False, metavar="[RECIPE]")
@click.option("--data", help="Training pictures: a folder per class, .tar shards, .zip, .npz.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.")
@click.option("--init", help="Begin with these weights: a run, a checkpoint, or an encoder that "
              "was trained here, by its folder or its imported name.")  # fmt: skip
@click.option("--self-supervised", is_flag=True, help="Two views of each picture; no labels.")
@click.option("--resume", is_flag=True, help="Go on from the run's latest checkpoint.")
@click.option("--name", help="Of the encoder that comes out.")
@click.option("--network", help="The network; a wrong name lists them.")
@click.option("--objectives", help="name[:weight],… for example triplet,distil-vectors:2.")
@click.option("--augmentation", help="How pictures are changed; a wrong name lists the sets.")
@click.option("--teacher", help="Encoder to distil, for example sface.")
@click.option(
    "--optimizer",
    type=click.Choice(["adamw", "adamw-relative", "sgd"]),
    help="Which optimizer; relative: a tensor's rate goes by its weights' size.",
)
@click.option("--by", type=click.Choice(["class", "photo"]), help="Split by person or photo.")
@click.option("--bf16/--fp32", default=None, help="Arithmetic; default bf16 on a GPU only.")
@_numbers
@click.option("--stop-on-collapse", is_flag=True, help="End when the vectors fall together.")
@click.option("--find-rate", is_flag=True, help="Propose a learning rate, and train nothing.")
@click.option("--show", is_flag=True, help="Print the recipe as JSON, and train nothing.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Default: a GPU if there.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table",
              show_default=True, help="How the result is printed.")  # fmt: skip
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def train(
    recipe: str | None, out: Path | None, resume: bool, find_rate: bool, show: bool,
    device: str | None, form: str, quiet: bool, **choices: Any,  # noqa: ANN401 - the recipe's fields
) -> None:  # fmt: skip
    """Train an encoder as a RECIPE says: a built-in one, or a JSON file; options change it.

    The run's folder holds checkpoints, log.csv and TensorBoard's files. Killed at any moment, the
    same command with --resume gives the weights it would have given.
    """
    _needs_torch()
    chosen = _recipe(recipe, out if resume else None, choices)
    if show:
        click.echo(json.dumps(chosen.to_dict(), indent=1, ensure_ascii=False))
    elif not chosen.data:
        raise BadRecipe("The recipe names no pictures: give --data, a folder per class.")
    elif find_rate:
        click.echo(f"{_found_rate(chosen, quiet):.2g}")
    elif out is None:
        raise click.UsageError("Name the folder of the run: --out run.")
    else:
        from embedder.train import train as run

        done = run(chosen, out, device=device, resume=resume, quiet=quiet)
        _tell(done, chosen, form)


def _needs_torch() -> None:
    wanted = ("torch", "pytorch_metric_learning", "kornia")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeMissing(
            f'{", ".join(missing)} not installed: pip install "vultus[train]" (on a machine '
            "without a GPU, torch's CPU build first)."
        )


def _recipe(given: str | None, run: Path | None, choices: dict[str, Any]) -> Recipe:
    """The recipe asked for: named, or that of the run to go on with, changed by the options."""
    from embedder import checkpoint
    from embedder.recipe import open_recipe, parse_objectives

    # a flag that was not given is False and says nothing; --fp32 says something
    silent = {key for key, value in choices.items() if value is False and key != "bf16"}
    changes = {k: v for k, v in choices.items() if v is not None and k not in silent}
    if "objectives" in changes:
        changes["objectives"] = parse_objectives(changes["objectives"])
    last = None if run is None else checkpoint.latest(run)
    if given is None and last is not None:
        return checkpoint.load(last).recipe.but(**changes)
    if given is None and "init" in changes:
        from embedder.start import start_recipe

        start = start_recipe(changes["init"])
        return start.but(**{"frozen": _FIRST_FROZEN, "name": f"{start.name}-tuned", **changes})
    default = "simclr" if changes.get("self_supervised") else "faces"
    return open_recipe(default if given is None else given).but(**changes)


def _found_rate(recipe: Recipe, quiet: bool) -> float:
    from embedder.dataset import open_pictures
    from embedder.network import network_card
    from embedder.train import find_rate

    def told(rate: float, loss: float) -> None:
        if not quiet:
            click.echo(f"rate {rate:.3g}  loss {loss:.4f}", err=True)

    card = network_card(recipe.network)
    pictures = open_pictures(recipe.data, side=card.side, channels=card.channels)
    return find_rate(recipe, pictures, told=told)


def _tell(done: Trained, recipe: Recipe, form: str) -> None:
    if form == "json":
        facts = {
            "name": recipe.name, "folder": str(done.folder), "steps": done.steps, "eer": done.eer,
            "ended": done.ended, "warnings": list(done.warnings),
        }  # fmt: skip
        click.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    eer = "" if done.eer is None else f", EER {done.eer:.4f} on people it has not seen"
    click.echo(f"{recipe.name}: {done.steps} steps{eer}. Best weights: {done.folder}")
    if done.ended == "early":
        click.echo("It ended early: the EER had not become lower for long.")


@click.command(
    "export",
    short_help="Write a trained network as ONNX, with its card.",
    epilog="""\b
Examples:
  vultus models export run --out model
  vultus models export run --out model --precision fp16 --data-licence own
  vultus models export run --out model --precision int8 --calibration people/""",
)
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "packed", "int8"]), default="fp32",
              show_default=True, help="Of the weights (packed: the largest in 8 bits); int8: of "
              "all arithmetic.")  # fmt: skip
@click.option("--calibration", type=click.Path(exists=True, path_type=Path), metavar="DIR",
              help="Pictures as the network is shown them: they calibrate int8, and judge any "
              "precision.")  # fmt: skip
@click.option("--own-space", is_flag=True,
              help="Where int8 moves vectors too far: another encoder, NAME-int8.")  # fmt: skip
@click.option(
    "--start-share",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="0…1",
    help="Mix in so much of the weights the run began with: what they knew comes back.",
)
@click.option("--name", help="Of the encoder; default: the recipe's.")
@click.option("--weights-licence", metavar="SPDX", help="For the card, such as Apache-2.0.")
@click.option("--data-licence", metavar="SPDX|own",
              help="Of the training pictures, for the card; own: yours.")  # fmt: skip
@click.option("--trained-on", metavar="TEXT", help="What it was trained on, for the card.")
@click.option("--detector", type=click.Choice(["yunet", "whole"]),
              help="What goes with it; default: yunet for 112×112, else whole.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table",
              show_default=True, help="How the result is printed.")  # fmt: skip
def export_command(
    run: Path, out: Path, precision: str, calibration: Path | None, own_space: bool,
    start_share: float, detector: str | None, form: str, **said: str | None,
) -> None:  # fmt: skip
    """Write the best network of a RUN as ONNX with its card, checked against torch.

    A file whose vectors differ from torch's (cosine below 0.9995 on some picture) is not kept.
    Then: vultus models import DIR.
    """
    _needs_torch()
    from embedder.card import ALIGNMENT, WHOLE
    from embedder.export import Statement, export, facts_of

    alignment = {"yunet": ALIGNMENT, "whole": WHOLE, None: None}[detector]
    done = export(
        run, out, precision=precision, own_space=own_space, start_share=start_share,
        pictures=None if calibration is None else _calibration_pictures(run, calibration),
        statement=Statement(**said, alignment=alignment),
    )  # fmt: skip
    for remark in done.remarks:
        click.echo(f"Remark: {remark}", err=True)
    if form == "json":
        click.echo(json.dumps(facts_of(done), indent=1, ensure_ascii=False))
        return
    click.echo(
        f"{done.path}: {done.size / 1e6:.2f} MB, {done.precision}, cosine with torch at least "
        f"{done.parity:.6f} on {done.compared} pictures; card {done.card_path}"
    )
    if done.own_space:
        click.echo(f"{done.card.name} has a space of its own, {done.card.space}.")


def _calibration_pictures(run: Path, place: Path) -> Any:  # noqa: ANN401 - uint8 (N, S, S, C)
    """Pictures of the size the run's network takes, in the colours it was trained on."""
    from embedder import checkpoint
    from embedder.dataset import open_pictures
    from embedder.network import network_card
    from embedder.quantize import drawn

    card = network_card(checkpoint.load(checkpoint.find(run)).recipe.network)
    return drawn(open_pictures(place, side=card.side, channels=card.channels).pixels)
