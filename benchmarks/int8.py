"""Static int8 of the encoder `picture`: how far its vectors move, and what it costs.

    python benchmarks/int8.py [--count 160]

Needs VULTUS_DATA (photographs of `lfw-dev/train`, whole, 224 × 224): three in four calibrate, the
others judge. Times are of the processor, not of the clock, per picture. Prints one table.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

from embedder import picture
from embedder.encoder import Network, unit_rows
from embedder.onnx_encoder import OnnxNetwork
from embedder.openvino_encoder import OpenVinoNetwork
from embedder.quantize import calibration_split, quantise


def photographs(count: int) -> NDArray[np.float32]:
    """Pictures as the network takes them, float32 (N, 3, 224, 224)."""
    files = sorted((Path(os.environ["VULTUS_DATA"]) / "lfw-dev" / "train").rglob("*.jpg"))[:count]
    read = [cv2.resize(cv2.imread(str(file))[..., ::-1], (picture.SIDE,) * 2) for file in files]
    card = picture.card()
    tensor = (np.stack(read).astype(np.float32) - card.mean[0]) / card.std[0]
    return np.ascontiguousarray(tensor.transpose(0, 3, 1, 2).astype(np.float32))


def cost(network: Network, tensor: NDArray[np.float32]) -> float:
    """Milliseconds of the processor a picture: the least of five runs over sixteen."""
    network.run(tensor[:4])
    found = []
    for _ in range(5):
        begun = time.process_time()
        network.run(tensor[:16])
        found.append((time.process_time() - begun) / 16 * 1000)
    return min(found)


def main() -> None:
    """Quantise, compare, print."""
    parser = argparse.ArgumentParser(description="Static int8 of `picture`.")
    parser.add_argument("--count", type=int, default=160)
    tensor = photographs(parser.parse_args().count)
    learnt, judged = calibration_split(len(tensor))
    path = picture.model_path()
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "int8.onnx"
        small.write_bytes(quantise(onnx.load(str(path)), tensor[learnt]).SerializeToString())
        print(f"{'':22}{'MB':>7}{'cosine, least':>15}{'mean':>9}{'CPU ms':>9}")
        reference = unit_rows(OnnxNetwork(str(path)).run(tensor[judged]))
        for name, file, network in (
            ("ONNX Runtime fp32", path, OnnxNetwork(str(path))),
            ("ONNX Runtime int8", small, OnnxNetwork(str(small))),
            ("OpenVINO fp32", path, OpenVinoNetwork(str(path), "fp32")),
            ("OpenVINO int8", small, OpenVinoNetwork(str(small), "fp32")),
        ):
            cosines = (unit_rows(network.run(tensor[judged])) * reference).sum(axis=1)
            size = file.stat().st_size / 1e6
            print(f"{name:22}{size:7.1f}{cosines.min():15.4f}{cosines.mean():9.4f}"
                  f"{cost(network, tensor):9.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
