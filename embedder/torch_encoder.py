"""A trained network run by torch: on a GPU, or right after training, before any export.

Letters: N pictures, C channels, S side, D dimensions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from embedder.card import ALIGNMENT, EncoderCard
from embedder.checkpoint import FACTS, STATE, Checkpoint, find, load
from embedder.encoder import NetworkEncoder
from embedder.errors import DeviceUnavailable
from embedder.network import network_card
from embedder.weights import digest_of

_BATCH = 256


class TorchNetwork:
    """A network opened in torch; it satisfies `embedder.encoder.Network`."""

    runtime = "torch"
    precision = "fp32"

    def __init__(self, network: nn.Module, device: str = "cpu") -> None:
        """Put a network on a device, in evaluation mode.

        Args:
            network: float (N, 3, S, S) in 0…255 → (N, D).
            device: `cpu` or `cuda`.

        Raises:
            DeviceUnavailable: CUDA is asked for and not there.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise DeviceUnavailable("torch sees no CUDA: check nvidia-smi, or use --device cpu.")
        self.device = device
        self._network = network.to(device).eval()

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network.

        Args:
            tensor: float32 (N, 3, S, S).

        Returns:
            float32 (N, D).
        """
        with torch.no_grad():
            vectors = self._network(torch.from_numpy(tensor).to(self.device))
        return np.asarray(vectors.float().cpu().numpy(), np.float32)


def card_of_checkpoint(saved: Checkpoint, digests: dict[str, str]) -> EncoderCard:
    """The card of an encoder that was trained here.

    Args:
        saved: its checkpoint.
        digests: file name → sha256 of its weights, the reference first.
    """
    recipe, network = saved.recipe, network_card(saved.recipe.network)
    start = f", begun from {network.pretrained}" if network.pretrained else ""
    taught = f", taught by {recipe.teacher}" if recipe.teacher else ""
    return EncoderCard(
        name=recipe.name,
        arch=network.arch,
        dim=saved.facts["dim"],
        side=network.side,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        order="RGB",
        alignment=ALIGNMENT if network.side == 112 else "whole",
        mirror=False,
        digests=digests,
        trained_on=f"{Path(recipe.data).name or 'pictures given'}{start}{taught}",
        weights_licence="of whoever trained it",
        data_licence="of the pictures it was trained on",
        source=f"vultus train, {saved.facts['step']} steps, seed {recipe.seed}",
    )


def open_torch_encoder(place: Path, *, device: str = "cpu") -> NetworkEncoder:
    """An encoder from a run or a checkpoint.

    Raises:
        CheckpointBroken: there is none, or it cannot be read.
        DeviceUnavailable: the device is not there.
    """
    folder = find(place)
    saved = load(folder)
    card = card_of_checkpoint(saved, {name: digest_of(folder / name) for name in (STATE, FACTS)})
    return NetworkEncoder(card, TorchNetwork(saved.network(), device))


def encode_pictures(
    network: nn.Module, pixels: NDArray[np.uint8], *, device: str = "cpu"
) -> NDArray[np.float32]:
    """Unit vectors of training pictures.

    Args:
        network: in evaluation mode.
        pixels: uint8 (N, S, S, C).
        device: `cpu` or `cuda`.

    Returns:
        float32 (N, D), unit rows.
    """
    network.to(device).eval()
    found = []
    with torch.no_grad():
        for i in range(0, len(pixels), _BATCH):
            block = torch.from_numpy(np.ascontiguousarray(pixels[i : i + _BATCH])).to(device)
            vectors = network(block.permute(0, 3, 1, 2).float())
            found.append(functional.normalize(vectors).cpu().numpy())
    return np.concatenate(found).astype(np.float32, copy=False)
