import importlib.util
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embedder import sface
from embedder.align import Crop
from embedder.card import EncoderCard
from embedder.detect import Face
from embedder.encoder import (
    CARDS,
    Embeddings,
    NetworkEncoder,
    card_of,
    known_models,
    open_network_encoder,
    to_tensor,
    unit_rows,
)
from embedder.errors import (
    DeviceUnavailable,
    RuntimeMissing,
    UnknownModel,
    WeightsMissing,
    WrongArray,
)
from embedder.model_folder import shipped_names

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra cpu is not installed")
openvino_encoder = pytest.importorskip(
    "embedder.openvino_encoder", reason="the extra cpu is not installed"
)
CARD = sface.card(mirror=False)


@pytest.fixture(scope="module")
def graph(own_cache: Path) -> Path:  # noqa: ARG001 - the cache must be set first
    try:
        return sface.model_path()
    except WeightsMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def ort(graph: Path) -> NetworkEncoder:  # noqa: ARG001 - skips without it
    return open_network_encoder("sface", runtime="onnxruntime")


@pytest.fixture(scope="module")
def expected(ort: NetworkEncoder, crops: list[Crop]) -> Embeddings:
    """The vectors of the crops in ONNX Runtime."""
    return ort.encode(crops)


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def openvino(request: pytest.FixtureRequest, graph: Path) -> NetworkEncoder:
    import openvino as runtime

    able = runtime.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if request.param == "bf16" and "BF16" not in able:
        pytest.skip("this processor has no bf16")
    network = openvino_encoder.OpenVinoNetwork(str(graph), request.param)
    assert network.precision == request.param
    return NetworkEncoder(CARD, network)


def cosines(a: Embeddings, b: Embeddings) -> NDArray[np.float32]:
    assert a.space == b.space
    return (a.vectors * b.vectors).sum(axis=1)


def test_the_runtimes_agree(expected: Embeddings, openvino: NetworkEncoder, crops: list[Crop]):
    assert cosines(expected, openvino.encode(crops)).min() >= 0.9995
    others = expected.vectors @ expected.vectors.T - 2 * np.eye(len(crops))
    assert others.max() < 0.9995, "different crops have different vectors"


def test_the_runtimes_agree_on_faces(
    ort: NetworkEncoder, openvino: NetworkEncoder, face_crops: list[Crop]
):
    assert cosines(ort.encode(face_crops), openvino.encode(face_crops)).min() >= 0.9995


def test_a_vector_does_not_depend_on_its_company(openvino: NetworkEncoder, crops: list[Crop]):
    together = openvino.encode(crops).vectors  # more than one batch
    alone = np.concatenate([openvino.encode([crop]).vectors for crop in crops])
    assert np.array_equal(together, alone)
    assert np.array_equal(openvino.encode(crops[::-1]).vectors[::-1], together)


def test_nor_in_onnx_runtime_to_rounding(ort: NetworkEncoder, crops: list[Crop]):
    together = ort.encode(crops[:12]).vectors
    alone = np.concatenate([ort.encode([crop]).vectors for crop in crops[:12]])
    assert np.abs(together - alone).max() <= 1e-5


def test_rows_are_of_length_one(expected: Embeddings, openvino: NetworkEncoder, crops: list[Crop]):
    for found in (expected, openvino.encode(crops)):
        assert found.vectors.dtype == np.float32
        assert found.vectors.shape == (34, 128)
        assert len(found) == 34
        assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(np.ones(34), abs=1e-5)


@pytest.mark.timeout(120)
def test_threads_get_the_vectors_of_their_own_crops(openvino: NetworkEncoder, crops: list[Crop]):
    """A vector that went to another thread would be another person's."""
    assert wrong_in_threads(openvino, crops[:23], 0.0) == []


def test_threads_share_onnx_runtime_too(ort: NetworkEncoder, crops: list[Crop]):
    assert wrong_in_threads(ort, crops[:23], 1e-5) == []


def wrong_in_threads(encoder: NetworkEncoder, crops: list[Crop], tolerance: float) -> list[str]:
    """What went wrong when four threads encoded overlapping parts of the crops at once."""
    expected = encoder.encode(crops).vectors
    wrong: list[str] = []

    def work(start: int) -> None:
        for _ in range(2):
            try:
                found = encoder.encode(crops[start : start + 8]).vectors
            except RuntimeError as error:
                wrong.append(str(error))
                continue
            away = np.abs(found - expected[start : start + 8]).max()
            if away > tolerance:
                wrong.append(f"off by {away}")

    threads = [threading.Thread(target=work, args=(5 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def test_mirror_is_the_average_of_both_sides(openvino: NetworkEncoder, crops: list[Crop]):
    mirror = NetworkEncoder(CARDS["sface-mirror"], openvino.network)
    flipped = [replace(c, pixels=np.ascontiguousarray(c.pixels[:, ::-1])) for c in crops[:5]]
    straight, back = openvino.encode(crops[:5]).vectors, openvino.encode(flipped).vectors
    average = straight.astype(float) + back
    average /= np.linalg.norm(average, axis=1, keepdims=True)
    found = mirror.encode(crops[:5])
    assert found.vectors == pytest.approx(average, abs=1e-6)
    assert mirror.encode(flipped).vectors == pytest.approx(found.vectors, abs=1e-6)
    assert found.space != openvino.encode(crops[:5]).space


def test_no_crops_give_no_rows(ort: NetworkEncoder, openvino: NetworkEncoder):
    for encoder in (ort, openvino):
        found = encoder.encode([])
        assert found.vectors.shape == (0, 128)
        assert found.vectors.dtype == np.float32
        assert found.space == CARD.space


def test_a_crop_of_another_side_is_refused(ort: NetworkEncoder, crops: list[Crop]):
    small = replace(crops[0], pixels=crops[0].pixels[:96, :96])
    with pytest.raises(WrongArray, match=r"A crop for sface must be uint8 \(112, 112, 3\)"):
        ort.encode([crops[0], small])


class Recorder:
    """A network that keeps what it was given and answers with its first entries."""

    device, precision, runtime = "cpu", "fp32", "none"

    def __init__(self) -> None:
        self.seen: list[NDArray[np.float32]] = []

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        self.seen.append(tensor)
        return tensor.reshape(len(tensor), -1)[:, :4] + 1


def toy_card(**facts: object) -> EncoderCard:
    return replace(CARD, dim=4, side=3, **facts)


def toy_crops(count: int) -> Sequence[Crop]:
    rng = np.random.default_rng(1)
    face = Face(np.zeros(4, np.float32), None, 1.0)
    return [
        Crop(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8), np.eye(2, 3), face)
        for _ in range(count)
    ]


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_the_tensor_is_scaled_and_ordered_as_the_card_says(order: str):
    card = toy_card(order=order, mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 8.0))
    crops = toy_crops(2)
    tensor = to_tensor(crops, card)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    for n, crop in enumerate(crops):
        for y in range(3):
            for x in range(3):
                for c in range(3):
                    value = crop.pixels[y, x, c if order == "RGB" else 2 - c]
                    want = (value - card.mean[c]) / card.std[c]
                    assert tensor[n, c, y, x] == pytest.approx(want)


def test_many_crops_go_in_batches_and_keep_their_order():
    recorder, crops = Recorder(), toy_crops(70)
    found = NetworkEncoder(toy_card(), recorder).encode(crops)
    assert [len(batch) for batch in recorder.seen] == [32, 32, 6]
    assert np.array_equal(np.concatenate(recorder.seen), to_tensor(crops, toy_card()))
    assert found.vectors.shape == (70, 4)


def test_unit_rows():
    rows = unit_rows(np.array([[3, 4], [-2, 0]], np.float32))
    assert rows == pytest.approx(np.array([[0.6, 0.8], [-1, 0]]))
    assert rows.dtype == np.float32


def test_embeddings_check_their_array():
    with pytest.raises(WrongArray, match=r"Embeddings\.vectors must be float32"):
        Embeddings(np.zeros((2, 3)), "toy")
    for value in (np.nan, np.inf, 0.0, 2.0):
        rows = np.eye(3, dtype=np.float32)
        rows[1, 1] = value
        with pytest.raises(WrongArray, match=r"length 1: row 1 has the square"):
            Embeddings(rows, "toy")


# Opening


def test_openvino_is_taken_first_and_another_when_asked(graph: Path):  # noqa: ARG001 - skips without it
    assert open_network_encoder().network.runtime == "openvino"
    asked = open_network_encoder("sface", runtime="onnxruntime", device="cpu")
    assert (asked.network.runtime, asked.network.device) == ("onnxruntime", "cpu")


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in names else real(name, *rest),
    )


def test_without_openvino_onnx_runtime_does(graph: Path, monkeypatch: pytest.MonkeyPatch):  # noqa: ARG001 - skips without it
    hide(monkeypatch, "openvino")
    assert open_network_encoder().network.runtime == "onnxruntime"
    with pytest.raises(RuntimeMissing, match=r"openvino is not installed.*vultus\[cpu\]"):
        open_network_encoder(runtime="openvino")


@pytest.mark.parametrize(("device", "extra"), [("cpu", "cpu"), ("cuda", "gpu")])
def test_without_a_runtime_the_extra_is_named(
    graph: Path,  # noqa: ARG001 - skips without it
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    extra: str,
):
    hide(monkeypatch, "openvino", "onnxruntime")
    with pytest.raises(RuntimeMissing, match=rf"pip install \"vultus\[{extra}\]\""):
        open_network_encoder(device=device)


def no_cuda() -> bool:
    return "CUDAExecutionProvider" not in onnxruntime.get_available_providers()


@pytest.mark.skipif(not no_cuda(), reason="this ONNX Runtime is built for CUDA")
def test_cuda_without_cuda_is_never_a_silent_cpu(graph: Path, monkeypatch: pytest.MonkeyPatch):  # noqa: ARG001 - skips without it
    for runtime in (None, "onnxruntime"):
        with pytest.raises(DeviceUnavailable, match=r"vultus\[gpu\].*--device cpu"):
            open_network_encoder("sface", device="cuda", runtime=runtime)
    monkeypatch.setenv("VULTUS_DEVICE", "cuda")
    with pytest.raises(DeviceUnavailable):
        open_network_encoder("sface")
    assert open_network_encoder("sface", device="cpu").network.device == "cpu"


def test_a_provider_that_does_not_start_is_refused(graph: Path, monkeypatch: pytest.MonkeyPatch):
    """A build for CUDA on a machine without a driver falls back in silence: that is caught."""
    from embedder import onnx_encoder

    class FallenBack:
        def __init__(self, *_arguments: object, **_options: object) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", FallenBack)
    with pytest.raises(DeviceUnavailable, match="nvidia-smi"):
        onnx_encoder.OnnxNetwork(str(graph), "cuda")


def test_what_does_not_exist_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UnknownModel, match="known are sface, sface-mirror"):
        open_network_encoder("arcface")
    monkeypatch.setenv("VULTUS_MODEL", "facenet")
    with pytest.raises(UnknownModel, match="'facenet'"):
        open_network_encoder()


def test_unknown_devices_and_runtimes_are_refused(graph: Path):  # noqa: ARG001 - skips without it
    with pytest.raises(DeviceUnavailable, match=r"'tpu'.*cpu and cuda"):
        open_network_encoder(device="tpu")
    with pytest.raises(UnknownModel, match="'tensorrt'"):
        open_network_encoder(runtime="tensorrt")
    with pytest.raises(DeviceUnavailable, match="onnxruntime"):
        open_network_encoder(runtime="openvino", device="cuda")


def test_the_environment_chooses_the_model(graph: Path, monkeypatch: pytest.MonkeyPatch):  # noqa: ARG001 - skips without it
    monkeypatch.setenv("VULTUS_MODEL", "sface-mirror")
    assert open_network_encoder().card.name == "sface-mirror"
    assert open_network_encoder("sface").card.name == "sface", "an argument wins"
    monkeypatch.delenv("VULTUS_MODEL")
    assert open_network_encoder().card.name == "vultus-face-1"


def test_cards_by_name():
    assert [card.name for card in known_models()] == [
        *shipped_names(), "sface", "sface-mirror", "picture"
    ]  # fmt: skip
    assert card_of("sface") == CARD
    with pytest.raises(UnknownModel):
        card_of("")


def test_nothing_leaves_the_machine(graph: Path):  # noqa: ARG001 - skips without it
    code = """if True:
        import sys
        calls = []
        def watch(event, arguments):
            if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname",
                         "socket.sendto", "subprocess.Popen"}:
                calls.append((event, str(arguments)))
        sys.addaudithook(watch)
        import numpy as np
        from embedder.align import Crop
        from embedder.detect import Face
        from embedder.encoder import open_network_encoder
        crop = Crop(np.zeros((112, 112, 3), np.uint8), np.eye(2, 3),
                    Face(np.zeros(4, np.float32), None, 1.0))
        encoder = open_network_encoder("sface", runtime="openvino")
        print(encoder.encode([crop]).vectors.shape)
        real = [name for name, module in sys.modules.items()
                if name.startswith("openvino_telemetry") and module is not None]
        print(real, calls)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["(1, 128)", "[] []"], done.stderr


# Starting quickly, and CUDA


def test_for_a_photo_or_two_opencv_gives_the_same_vectors(
    ort: NetworkEncoder, face_crops: list[Crop], crops: list[Crop]
):
    for name in ("sface", "sface-mirror"):
        quick = open_network_encoder(name, quick=True)
        assert quick.network.runtime == "opencv"
        usual = NetworkEncoder(quick.card, ort.network)
        some = [*face_crops, *crops[:6]]
        assert cosines(usual.encode(some), quick.encode(some)).min() >= 0.9995


@pytest.mark.parametrize("name", shipped_names() or [pytest.param("", marks=pytest.mark.skip(
    reason="no encoder of its own comes with this version"))])  # fmt: skip
def test_encoders_that_come_along_give_the_same_vectors_everywhere(
    name: str, face_crops: list[Crop]
):
    usual = open_network_encoder(name, runtime="onnxruntime").encode(face_crops)
    for other in (open_network_encoder(name, runtime="openvino"),
                  open_network_encoder(name, quick=True)):  # fmt: skip
        assert other.network.runtime in {"openvino", "opencv"}
        assert cosines(usual, other.encode(face_crops)).min() >= 0.9995


def test_each_compilation_gives_the_same_vectors(
    face_crops: list[Crop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Packed weights that were left to OpenVINO were wrong in one compilation of five."""
    wanted = open_network_encoder("vultus-face-1", runtime="onnxruntime").encode(face_crops)
    for k in range(8):
        monkeypatch.setenv("VULTUS_CACHE", str(tmp_path / str(k)))
        again = open_network_encoder("vultus-face-1", runtime="openvino").encode(face_crops)
        assert cosines(wanted, again).min() >= 0.9995


def test_quick_gives_way_to_what_was_asked(monkeypatch: pytest.MonkeyPatch):
    assert open_network_encoder(runtime="openvino", quick=True).network.runtime == "openvino"
    monkeypatch.setenv("VULTUS_DEVICE", "cuda")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(DeviceUnavailable, match="CUDAExecutionProvider"):
            open_network_encoder(quick=True)


def test_threads_share_opencvs_network(crops: list[Crop]):
    assert wrong_in_threads(open_network_encoder(quick=True), crops[:23], 1e-6) == []


def test_half_precision_keeps_the_space(graph: Path, ort: NetworkEncoder, face_crops: list[Crop]):
    """What CUDA is given, run on the processor: fp16 weights, float32 in and out."""
    from embedder.onnx_encoder import in_half

    half = onnxruntime.InferenceSession(in_half(str(graph)), providers=["CPUExecutionProvider"])
    tensor = to_tensor(face_crops, CARD)
    (output,) = half.run(None, {half.get_inputs()[0].name: tensor})
    assert output.dtype == np.float32
    vectors = Embeddings(unit_rows(output), CARD.space)
    assert cosines(ort.encode(face_crops), vectors).min() >= 0.9995


def test_a_session_that_fell_back_is_refused(graph: Path):
    """ONNX Runtime puts the processor in CUDA's place without a word."""
    from embedder.onnx_encoder import open_session, require_provider

    session = open_session(str(graph), "cpu")
    with pytest.raises(DeviceUnavailable, match="fell back"):
        require_provider(session, "CUDAExecutionProvider")


@pytest.mark.filterwarnings("ignore:Specified provider")  # ONNX Runtime says so and goes on
def test_cuda_that_cannot_start_is_an_error_not_the_processor(
    graph: Path, monkeypatch: pytest.MonkeyPatch
):
    """A build that lists CUDA on a machine without a driver."""
    from embedder.onnx_encoder import open_session

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build has CUDA: what happens then depends on the machine")
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    with pytest.raises(DeviceUnavailable, match="CUDAExecutionProvider"):
        open_session(str(graph), "cuda")


def test_a_heavy_last_layer_is_run_apart(openvino: NetworkEncoder):
    """SFace's 6.4 million weights; the network of things has no such layer."""
    assert openvino.network._head is not None
    shape = list(openvino.network._head.get_input_tensor(0).shape)
    assert shape == [openvino_encoder._ROWS, 50_176]
