"""`vultus models` as a user meets it: what there is, whose it is, and bringing one's own in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

if TYPE_CHECKING:
    from conftest import Done, Vultus

pytestmark = pytest.mark.usefixtures("weights")
SIDE = 32


@pytest.fixture(autouse=True)
def no_models(vultus: Vultus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of models of each test's own."""
    monkeypatch.setitem(vultus.environment, "VULTUS_MODELS", str(tmp_path / "models"))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An encoder that sees the mean colours of sixteen cells, with its card."""
    matrix = np.linalg.qr(np.random.default_rng(2).standard_normal((48, 48)))[0].astype("f4")
    nodes = [
        helper.make_node("AveragePool", ["data"], ["c"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["vector"]),
    ]
    given = helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
    found = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["N", 48])
    weights = [numpy_helper.from_array(matrix, "m")]
    body = helper.make_graph(nodes, "cells", [given], [found], weights)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    folder = tmp_path / "export"
    folder.mkdir()
    data = model.SerializeToString()
    (folder / "cells.onnx").write_bytes(data)
    card = {
        "name": "cells", "arch": "mean colours", "dim": 48, "side": SIDE, "mean": [127.5] * 3,
        "std": [127.5] * 3, "order": "RGB", "alignment": "whole", "mirror": False,
        "digests": {"cells.onnx": hashlib.sha256(data).hexdigest()}, "trained_on": "nothing",
        "weights_licence": "Apache-2.0", "data_licence": "own", "source": "a test",
    }  # fmt: skip
    (folder / "cells.json").write_text(json.dumps(card))
    return folder


def test_the_list_tells_licences_and_training_data(inside: Callable[..., Done]):
    done = inside("models", "list")
    assert done.code == 0
    assert "sface          128-d, faces, one pass" in done.out
    assert "weights: Apache-2.0" in done.out
    assert "ImageNet" in done.out
    values = inside("models", "list", "--format", "json").json()
    assert {"sface", "sface-mirror", "picture"} <= {one["name"] for one in values}
    assert [one["name"] for one in values if one["default"]] == [values[0]["name"]]
    sface = next(one for one in values if one["name"] == "sface")
    assert (sface["commercial"]["weights"], sface["commercial"]["data"]) == (True, False)
    assert sface["origin"] == "built in"


def test_commercial_use_wants_both_licences(inside: Callable[..., Done], export: Path):
    done = inside("models", "show", "sface", "--require-commercial")
    assert done.code == 1
    assert json.loads(done.out)["weights_licence"] == "Apache-2.0"
    assert "ok   weights: Apache-2.0" in done.err
    assert "fail training data: research" in done.err
    assert inside("models", "verify", "sface", "--require-commercial").code == 1
    assert inside("models", "verify", "sface").code == 0
    card = json.loads((export / "cells.json").read_text())
    (export / "cells.json").write_text(json.dumps(card | {"data_licence": "research only"}))
    done = inside("models", "import", export, "--require-commercial", "--format", "json")
    assert (done.code, done.json()["error"]["code"]) == (2, "not_commercial")
    assert "training data: 'research only'" in done.err
    (export / "cells.json").write_text(json.dumps(card))
    assert inside("models", "import", export, "--require-commercial").code == 0
    done = inside("models", "list", "--require-commercial")
    assert done.out.startswith("cells")
    assert "not sface: training data" in done.err
    assert "sface" not in done.out


def test_an_imported_encoder_works_everywhere(
    inside: Callable[..., Done], export: Path, tmp_path: Path
):
    rng = np.random.default_rng(3)
    things = tmp_path / "things"
    for kind in range(8):
        cells = rng.integers(0, 256, (4, 4, 3))
        for number in range(6):
            (things / f"kind {kind}").mkdir(parents=True, exist_ok=True)
            noisy = np.kron(cells, np.ones((16, 16, 1))) + rng.normal(0, 20, (64, 64, 3))
            picture = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
            picture.save(things / f"kind {kind}" / f"{number}.png")
    done = inside("models", "import", export, "--format", "json")
    assert done.code == 0, done
    assert done.json()["space"].startswith("cells-48-")
    assert "cells" in inside("models", "verify").out
    at = ("--database", tmp_path / "g.sqlite3")
    assert inside("enroll", things, "--model", "cells", *at).code == 0
    assert "Now in force for cells-48-" in inside("calibrate", things, "--model", "cells", *at).out
    probe = things / "kind 3" / "0.png"
    done = inside("verify", "kind 3", "--source", probe, "--fmr", "0.12", "--format", "json", *at)
    assert (done.code, done.json()["answer"]) == (0, "yes"), "the gallery's space names the encoder"
    done = inside("evaluate", "classification", things, "--model", "cells", "--format", "json", *at)
    values = done.json()
    assert (values["accuracy"]["value"], values["kmeans_accuracy"]) == (1.0, 1.0)
    fresh = ("--database", tmp_path / "fresh.sqlite3", "--model", "cells")
    done = inside("evaluate", "clustering", things, "--k", 8, "--format", "json", *fresh)
    assert (done.json()["clusters"], done.json()["bcubed"]["f"]) == (8, 1.0)
    done = inside("evaluate", "clustering", things, *fresh)
    assert "(no calibration)" in done.out
    assert "8 classes" in done.out
    done = inside("evaluate", "verification", things, "--all-pairs", *fresh)
    assert "28 pairs of classes cannot support lower rates" in done.out
    done = inside("models", "remove", "cells", "--yes")
    assert done.code == 0
    done = inside("verify", "kind 3", "--source", probe, *at)
    assert done.code == 3, "without it the gallery cannot be used"


def test_what_was_swapped_is_found(inside: Callable[..., Done], export: Path, tmp_path: Path):
    assert inside("models", "import", export).code == 0
    (tmp_path / "models" / "cells" / "cells.onnx").write_bytes(b"other")
    done = inside("models", "verify", "cells", "--format", "json")
    assert done.code == 3
    assert [one["state"] for one in done.json()["files"]] == ["bad"]
    assert "sha256 differs" in done.err
    again = inside("models", "import", export)
    assert again.code == 2
    assert "--replace" in again.err
    (export / "cells.onnx").write_bytes((export / "cells.onnx").read_bytes()[:-9])
    done = inside("models", "import", export, "--replace", "--format", "json")
    assert (done.code, done.json()["error"]["code"]) == (2, "model_unusable")
    assert "cut off" in done.err
