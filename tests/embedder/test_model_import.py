"""Encoders brought in: small graphs made here, whole and spoiled, through a real runtime."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from embedder import model_graph
from embedder.card import PARITY, EncoderCard
from embedder.card_file import card_from
from embedder.encoder import CARDS, card_of, known_models, open_network_encoder
from embedder.errors import (
    DeviceUnavailable,
    ModelExists,
    ModelUnusable,
    NotCommercial,
    UnknownModel,
    WeightsBroken,
)
from embedder.licences import OWN, commercial
from embedder.model_folder import (
    CARD,
    imported,
    imported_cards,
    imported_names,
    models_folder,
    own,
    shipped_names,
)
from embedder.model_graph import least_cosine, probes, try_out
from embedder.model_import import import_model, remove_model

pytest.importorskip("onnxruntime", reason="the extra cpu is not installed")

SIDE, DIM, CELLS = 28, 16, 4


def graph(
    *, side: int = SIDE, batch: int | str = "N", scale: float = 1.0, opset: int = 17,
    kind: int = TensorProto.FLOAT, ends: int = 1,
) -> onnx.ModelProto:  # fmt: skip
    """Mean colours of 4 × 4 cells, turned by a fixed matrix: (N, 3, S, S) → (N, D)."""
    rng = np.random.default_rng(4)
    matrix = (scale * rng.standard_normal((3 * CELLS**2, DIM))).astype(np.float32)
    step = side // CELLS
    nodes = [
        helper.make_node("AveragePool", ["data"], ["cells"], kernel_shape=[step] * 2,
                         strides=[step] * 2),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["vector"]),
        helper.make_node("Identity", ["vector"], ["again"]),
    ]  # fmt: skip
    given = helper.make_tensor_value_info("data", kind, [batch, 3, side, side])
    out = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, DIM])
        for name in ("vector", "again")[:ends]
    ]
    body = helper.make_graph(
        nodes, "toy", [given], out, [numpy_helper.from_array(matrix, "matrix")]
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def card_for(data: bytes, file: str = "shoes.onnx", **changes: object) -> dict[str, object]:
    facts = {
        "name": "shoes", "arch": "toy", "dim": DIM, "side": SIDE, "mean": [127.5] * 3,
        "std": [128.0] * 3, "order": "RGB", "alignment": "whole", "mirror": False,
        "digests": {file: hashlib.sha256(data).hexdigest()}, "trained_on": "drawn shoes",
        "weights_licence": "Apache-2.0", "data_licence": OWN, "source": "a test",
    }  # fmt: skip
    return facts | changes


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("VULTUS_MODELS", str(folder))
    return folder


@pytest.fixture
def exported(tmp_path: Path) -> Callable[..., Path]:
    """A folder as an export writes it: card and graph."""

    def make(data: bytes | None = None, *, facts: dict[str, object] | None = None, **changes):
        folder = tmp_path / f"export-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        data = graph().SerializeToString() if data is None else data
        (folder / "shoes.onnx").write_bytes(data)
        card = card_for(data, **changes) | (facts or {})
        (folder / "shoes.json").write_text(json.dumps(card))
        return folder

    return make


def test_it_works_by_name_everywhere(models: Path, exported):
    done = import_model(exported())
    assert (done.model.card.name, done.replaced) == ("shoes", False)
    assert sorted(p.name for p in (models / "shoes").iterdir()) == [CARD, "shoes.onnx"]
    assert [p.name for p in models.iterdir()] == ["shoes"], "nothing half done is left"
    assert known_models()[-1] == card_of("shoes") == imported("shoes").card
    assert done.model.runtimes["onnxruntime"] == "fp32"
    crops = probes(SIDE, 6)
    means = np.stack([
        (c.pixels.astype(np.float64) - 127.5).transpose(2, 0, 1) / 128 for c in crops
    ])  # fmt: skip
    cells = means.reshape(6, 3, CELLS, 7, CELLS, 7).mean(axis=(3, 5)).reshape(6, -1)
    matrix = numpy_helper.to_array(graph().graph.initializer[0])
    wanted = cells @ matrix
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = open_network_encoder("shoes", runtime="onnxruntime").encode(crops)
    np.testing.assert_allclose(found.vectors, wanted, atol=1e-5)
    assert found.space == done.model.card.space


def test_what_comes_with_the_program_is_of_the_same_form(models: Path, exported, monkeypatch):
    import_model(exported())
    monkeypatch.setattr("embedder.model_folder.SHIPPED", models)
    monkeypatch.setenv("VULTUS_MODELS", str(models / "none"))
    assert (shipped_names(), imported_names()) == (["shoes"], [])
    monkeypatch.setitem(CARDS, "shoes", own("shoes").card)
    encoder = open_network_encoder("shoes", runtime="onnxruntime")
    assert encoder.encode(probes(SIDE, 2)).space == card_of("shoes").space
    with pytest.raises(ModelExists, match="comes with Vultus"):
        import_model(exported(), replace=True)
    (models / "shoes" / "shoes.onnx").write_bytes(b"another")
    with pytest.raises(WeightsBroken, match="sha256"):
        open_network_encoder("shoes", runtime="onnxruntime")


@pytest.mark.parametrize("name", shipped_names() or [pytest.param("", marks=pytest.mark.skip(
    reason="no encoder of its own comes with this version"))])  # fmt: skip
def test_each_encoder_that_comes_along_is_small_and_says_what_it_was_made_from(name: str):
    model = own(name)
    assert model.graph().stat().st_size <= 8_000_000
    assert model.card.weights_licence == "Apache-2.0"
    assert not commercial(model.card).data, "it was trained on research data"
    assert {"recipe", "precision", "parity"} <= set(model.facts)


def test_a_file_or_a_card_may_be_named(exported):
    folder = exported()
    import_model(folder / "shoes.onnx")
    assert import_model(folder / "shoes.json", replace=True).replaced
    assert [card.name for card in imported_cards()] == ["shoes"]


def test_of_several_precisions_one_is_named(exported):
    folder = exported()
    other = graph(scale=1.0000001).SerializeToString()
    (folder / "shoes-fp16.onnx").write_bytes(other)
    card = json.loads((folder / "shoes.json").read_text())
    card["digests"]["shoes-fp16.onnx"] = hashlib.sha256(other).hexdigest()
    (folder / "shoes.json").write_text(json.dumps(card))
    with pytest.raises(ModelUnusable, match=r"holds shoes.onnx, shoes-fp16.onnx: name the one"):
        import_model(folder)
    assert import_model(folder / "shoes-fp16.onnx").model.path.name == "shoes-fp16.onnx"


def test_what_was_swapped_or_cut_off_is_refused(exported):
    folder = exported()
    whole = (folder / "shoes.onnx").read_bytes()
    for data in (whole[:-1], whole[:-1] + b"\0", b""):
        (folder / "shoes.onnx").write_bytes(data)
        with pytest.raises(ModelUnusable, match=r"sha256 differs, \d+ bytes.*cut off, changed"):
            import_model(folder)
    (folder / "shoes.onnx").unlink()
    with pytest.raises(ModelUnusable, match="lies beside it"):
        import_model(folder)
    assert imported_cards() == []


def test_what_is_spoiled_after_the_import_is_never_run(models: Path, exported):
    place = import_model(exported()).model.path
    place.write_bytes(graph(scale=2).SerializeToString())
    with pytest.raises(WeightsBroken, match=r"sha256 differs.*--replace"):
        open_network_encoder("shoes")
    (models / "shoes" / CARD).write_text("{")
    assert imported_cards() == [], "a damaged one does not stop the others"
    with pytest.raises(ModelUnusable, match="no JSON"):
        card_of("shoes")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ({"side": 32}, r"its input is float N × 3 × 28 × 28; its card says float N × 3 × 32"),
        ({"dim": 8}, r"its output is float N × 16; its card says float N × 8"),
        ({"mean": [0, 0]}, "mean is .* three numbers"),
        ({"std": [1, 0, 1]}, "std is .* above 0"),
        ({"order": "GBR"}, "RGB or BGR"),
        ({"alignment": "eyes"}, "five-point-similarity-112 or whole"),
        ({"mirror": 1}, "true or false"),
        ({"name": "../shoes"}, "letters, digits"),
        ({"digests": {"../shoes.onnx": "0" * 64}}, "digests is"),
        ({"digests": {}}, "no card"),
        ({"dim": True}, "dim is True"),
        ({"space": "shoes-16-000000000000"}, "changed after it was written"),
        ({"trained_on": "a\nb"}, "a line of text"),
    ],
)
def test_a_card_is_believed_in_nothing(exported, spoil, says):
    with pytest.raises(ModelUnusable, match=says):
        import_model(exported(facts=spoil))


def test_a_card_that_lacks_something_says_what():
    facts = card_for(b"")
    del facts["side"], facts["std"]
    with pytest.raises(ModelUnusable, match="it lacks side, std"):
        card_from(facts, "shoes.json")


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (graph(batch=1), "exactly 1 at a time"),
        (graph(ends=2), "1 inputs and 2 outputs"),
        (graph(opset=99), "opset 99"),
        (graph(scale=0.0), "finite"),
        (graph(kind=TensorProto.DOUBLE), "is double N × 3"),
    ],
)
def test_graphs_of_another_form_are_refused(models: Path, exported, model, says):
    with pytest.raises(ModelUnusable, match=says):
        import_model(exported(model.SerializeToString()))
    assert not models.exists() or list(models.iterdir()) == []


def test_what_is_no_graph_is_refused(exported):
    with pytest.raises(ModelUnusable, match="no ONNX file"):
        import_model(exported(b"this is no graph"))
    outside = graph()
    tensor = outside.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    with pytest.raises(ModelUnusable, match="in another file"):
        import_model(exported(outside.SerializeToString()))
    strange = graph()
    strange.opset_import.append(helper.make_opsetid("my.own", 1))
    strange.graph.node[-1].domain = "my.own"
    strange.graph.output[0].name = strange.graph.node[-1].output[0]
    with pytest.raises(ModelUnusable, match=r"'my\.own'"):
        import_model(exported(strange.SerializeToString()))


def test_vectors_must_tell_pictures_apart():
    card, _ = card_from(card_for(b""), "card")
    same = np.tile(np.eye(1, DIM, dtype=np.float32), (4, 1))
    with pytest.raises(ModelUnusable, match="same vector"):
        model_graph.check_vectors(same, same[:2], card, "x.onnx")
    other = np.eye(4, DIM, dtype=np.float32)
    with pytest.raises(ModelUnusable, match="others are beside it"):
        model_graph.check_vectors(other, other[1:3], card, "x.onnx")
    with pytest.raises(ModelUnusable, match="not finite or zero"):
        model_graph.check_vectors(0 * other, 0 * other[:2], card, "x.onnx")
    with pytest.raises(ModelUnusable, match=r"shape \(4, 15\)"):
        model_graph.check_vectors(other[:, :15], other[:2, :15], card, "x.onnx")


def test_runtimes_that_agree_are_kept(tmp_path: Path):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    data = graph().SerializeToString()
    (tmp_path / "x.onnx").write_bytes(data)
    card, _ = card_from(card_for(data), "card")
    found = try_out(tmp_path / "x.onnx", card)
    assert list(found) == ["onnxruntime", "openvino"]
    assert found["openvino"] in {"bf16", "fp32"}


def test_pictures_that_are_given_judge_the_runtimes(models: Path, exported, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    given = np.random.default_rng(1).integers(0, 256, (7, SIDE, SIDE, 3), np.uint8)
    judged = []

    def openvino(_path, _card, crops, reference, wanted):
        np.testing.assert_array_equal(np.stack([crop.pixels for crop in crops]), given)
        encoder = open_network_encoder("shoes", runtime="onnxruntime")
        np.testing.assert_allclose(reference, encoder.encode(crops).vectors, atol=1e-5)
        judged.append(wanted)
        return "bf16"

    import_model(exported())
    monkeypatch.setattr(model_graph, "_openvino", openvino)
    done = import_model(exported(), replace=True, pictures=lambda card: given[:, : card.side])
    assert judged == [PARITY]
    assert done.model.runtimes["openvino"] == "bf16"
    assert json.loads((models / "shoes" / CARD).read_text())["tried_on"] == "7 pictures given"


def test_a_runtime_that_gives_other_vectors_is_not_used(models: Path, exported):
    """As a card says it that found so on import."""
    import_model(exported())
    file = models / "shoes" / CARD
    facts = json.loads(file.read_text())
    facts["runtimes"]["openvino"] = None
    file.write_text(json.dumps(facts))
    assert open_network_encoder("shoes").network.runtime == "onnxruntime"
    with pytest.raises(DeviceUnavailable, match="other vectors"):
        open_network_encoder("shoes", runtime="openvino")


def test_names_are_taken_once(exported):
    import_model(exported())
    with pytest.raises(ModelExists, match="--replace"):
        import_model(exported())
    with pytest.raises(ModelExists, match="comes with Vultus"):
        import_model(exported(facts={"name": "sface"}), replace=True)
    assert remove_model("shoes") == models_folder() / "shoes"
    with pytest.raises(UnknownModel):
        card_of("shoes")
    with pytest.raises(ModelUnusable, match="imported are: none"):
        remove_model("shoes")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("weights.pth", "pickle"), ("state.safetensors", "training run.*models export"),
        ("notes.txt", "is no encoder"), ("lonely.onnx", "No card beside"),
    ],
)  # fmt: skip
def test_other_files_are_refused_with_what_to_do(tmp_path: Path, name: str, says: str):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ModelUnusable, match=says):
        import_model(tmp_path / name)


def test_a_training_run_says_how_it_is_exported(tmp_path: Path):
    (tmp_path / "run" / "best").mkdir(parents=True)
    with pytest.raises(ModelUnusable, match=r"vultus models export .*run --out model"):
        import_model(tmp_path / "run")
    with pytest.raises(ModelUnusable, match="does not exist"):
        import_model(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnusable, match="no card"):
        import_model(tmp_path / "empty")


def test_a_licence_can_be_asked_for(exported):
    def admit(card: EncoderCard) -> None:
        if not commercial(card).passes:
            raise NotCommercial("no")

    with pytest.raises(NotCommercial):
        import_model(exported(facts={"data_licence": "research only"}), admit=admit)
    assert imported_cards() == []
    import_model(exported(), admit=admit)


def test_probes_are_the_same_for_a_seed_and_differ():
    first, again = probes(56), probes(56)
    assert all((a.pixels == b.pixels).all() for a, b in zip(first, again, strict=True))
    assert len({crop.pixels.tobytes() for crop in first}) == len(first)
    rows = np.eye(2, 3, dtype=np.float32)
    assert least_cosine(rows, rows) == 1.0 > PARITY
