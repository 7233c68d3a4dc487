import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from embedder.embed import Embedder
from embedder.errors import UnusablePhoto
from embedder.quality import Gate
from verify import capture
from verify.capture import LatestFrame, open_source, take
from verify.errors import NoUsableFrame, ProbeRejected, SourceUnusable
from verify.sources import is_moving

Frame = NDArray[np.uint8]
Portraits = list[list[Frame]]
Film = Callable[..., str]


def wall(seed: int = 0) -> Frame:
    """A picture of nobody."""
    y, x = np.mgrid[:320, :320] / 320
    grey = 128 + 100 * np.sin(9 * x + seed) * np.cos(7 * y)
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


def blurred(frame: Frame) -> Frame:
    return cv2.GaussianBlur(frame, (0, 0), 3).astype(np.uint8)


@pytest.mark.parametrize(
    ("source", "moving"),
    [
        ("0", True),
        ("12", True),
        ("rtsp://camera.local/1", True),
        ("http://127.0.0.1:8080/stream", True),
        ("clip.mp4", True),
        ("CLIP.AVI", True),
        ("folder.d/clip.webm", True),
        ("clip.mkv", True),
        ("clip.mov", True),
        ("photo.jpg", False),
        ("photo.mp4.jpg", False),
        ("photo", False),
        ("0.jpg", False),
        ("-1", False),
        ("1.5", False),
        ("", False),
        ("clip.gif", False),  # a picture: its first frame
        ("./0", False),
    ],
)
def test_is_moving(source: str, moving: bool):
    assert is_moving(source) is moving


class TestPhoto:
    def test_one_face_is_one_frame(self, embedder: Embedder, people: dict[str, list[Path]]):
        path = next(iter(people.values()))[0]
        probe = take(embedder, str(path))
        assert probe.vectors.shape == (1, embedder.encoder.card.dim)
        assert probe.vectors.dtype == np.float32
        assert np.linalg.norm(probe.vectors[0]) == pytest.approx(1, abs=1e-3)
        assert len(probe.faces) == 1
        assert probe.source == str(path)

    def test_any_kind_of_source(self, embedder: Embedder, people: dict[str, list[Path]]):
        path = next(iter(people.values()))[0]
        wanted = take(embedder, str(path)).vectors
        for source in (path, path.read_bytes(), embedder.read(path).pixels):
            assert float((take(embedder, source).vectors @ wanted.T).min()) > 0.999

    def test_nobody(self, embedder: Embedder):
        with pytest.raises(ProbeRejected, match="no face") as caught:
            take(embedder, wall())
        assert caught.value.reason == "face_not_found"

    def test_two_people(self, embedder: Embedder, portraits: Portraits):
        both = np.hstack([portraits[0][0], portraits[1][0]])
        with pytest.raises(ProbeRejected) as caught:
            take(embedder, both)
        assert caught.value.reason == "multiple_faces"
        assert len(take(embedder, both, rule="largest").vectors) == 1

    def test_below_the_gate(self, embedder: Embedder, portraits: Portraits):
        with pytest.raises(ProbeRejected) as caught:
            take(embedder, portraits[0][0], gate=Gate(size=310))
        assert caught.value.reason == "face_too_small"
        with pytest.raises(ProbeRejected) as caught:
            take(embedder, portraits[0][0], gate=Gate(sharpness=9))
        assert caught.value.reason == "low_quality"

    def test_no_picture(self, embedder: Embedder, tmp_path: Path):
        with pytest.raises(UnusablePhoto):
            take(embedder, b"not a picture")
        with pytest.raises(UnusablePhoto):
            take(embedder, str(tmp_path / "missing.jpg"))


class TestVideo:
    def test_frames_are_fused(self, embedder: Embedder, portraits: Portraits, film: Film):
        path = film(portraits[0][:5])
        probe = take(embedder, path, frames=3)
        assert probe.vectors.shape == (3, embedder.encoder.card.dim)
        assert len(probe.faces) == 3
        assert probe.source == path
        own = take(embedder, portraits[0][5]).vectors
        other = take(embedder, portraits[1][5]).vectors
        assert (probe.vectors @ own.T).mean() > 0.5 > (probe.vectors @ other.T).mean()

    def test_the_best_come_first(self, embedder: Embedder, portraits: Portraits, film: Film):
        sharp = portraits[0][0]
        path = film([blurred(sharp), sharp, blurred(sharp), blurred(sharp)])
        probe = take(embedder, path, frames=2)
        seen = take(embedder, path, frames=4)
        worth = [face.quality.sharpness * min(face.quality.size, 112) for face in seen.faces]
        assert worth == sorted(worth, reverse=True)
        assert probe.faces[0].quality.sharpness > 1.5 * probe.faces[1].quality.sharpness
        for vector, face in zip(probe.vectors, probe.faces, strict=True):
            own = embedder.encode([face]).vectors[0]
            assert float(vector @ own) > 0.999

    def test_a_path_object_is_a_video_too(
        self, embedder: Embedder, portraits: Portraits, film: Film
    ):
        path = film(portraits[0][:2])
        assert len(take(embedder, Path(path)).vectors) == 2

    def test_no_more_frames_than_there_are(
        self, embedder: Embedder, portraits: Portraits, film: Film
    ):
        assert len(take(embedder, film(portraits[0][:2]), frames=5).vectors) == 2

    def test_reading_stops_at_twice_the_asked_frames(
        self,
        embedder: Embedder,
        portraits: Portraits,
        film: Film,
        monkeypatch: pytest.MonkeyPatch,
    ):
        looks: list[Frame] = []
        real = capture._looks
        monkeypatch.setattr(
            capture, "_looks", lambda camera: (looks.append(f) or f for f in real(camera))
        )
        take(embedder, film(portraits[0][:6]), frames=2)
        assert len(looks) == 4

    def test_the_time_ends_it(self, embedder: Embedder, portraits: Portraits, film: Film):
        assert len(take(embedder, film(portraits[0][:6]), timeout=0.0).vectors) == 1

    def test_fast_videos_are_looked_at_eight_times_a_second(self, portraits: Portraits, film: Film):
        frames = [portraits[0][i % 2] for i in range(33)]
        with open_source(film(frames, rate=32.0)) as camera:
            looks = list(capture._looks(camera))
        assert len(looks) == 9  # of 33: every fourth
        assert looks[0].shape == (320, 320, 3)
        assert np.abs(looks[0].astype(int) - frames[0]).mean() < 12  # RGB, not BGR

    def test_a_stranger_passing_does_not_spoil_it(
        self, embedder: Embedder, portraits: Portraits, film: Film
    ):
        both = cv2.resize(np.hstack([portraits[0][0], portraits[1][0]]), (320, 320))
        path = film([wall(), both.astype(np.uint8), portraits[0][0]])
        assert len(take(embedder, path).vectors) == 1

    def test_nobody_in_any_frame(self, embedder: Embedder, film: Film):
        path = film([wall(seed) for seed in range(4)])
        with pytest.raises(NoUsableFrame, match="none of 4 frames") as caught:
            take(embedder, path)
        assert caught.value.reason == "face_not_found"

    def test_the_most_frequent_reason_is_told(
        self, embedder: Embedder, portraits: Portraits, film: Film
    ):
        both = np.hstack([portraits[0][0], portraits[1][0]])
        nobody = np.hstack([wall(), wall(1)])
        with pytest.raises(NoUsableFrame, match="multiple_faces in 2") as caught:
            take(embedder, film([both, nobody, both]))
        assert caught.value.reason == "multiple_faces"

    def test_a_missing_file(self, embedder: Embedder, tmp_path: Path):
        with pytest.raises(SourceUnusable, match="does not exist"):
            take(embedder, str(tmp_path / "missing.mp4"))

    @pytest.mark.parametrize("content", [b"", b"RIFF\x00\x00\x00\x00AVI LIST", b"text" * 99])
    def test_a_broken_file(self, embedder: Embedder, tmp_path: Path, content: bytes):
        path = tmp_path / "broken.avi"
        path.write_bytes(content)
        with pytest.raises(SourceUnusable, match=r"^The video .* cannot be opened"):
            take(embedder, str(path))

    def test_a_cut_file_gives_what_it_has(
        self, embedder: Embedder, portraits: Portraits, film: Film
    ):
        path = Path(film(portraits[0][:6] * 2))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        found = len(take(embedder, str(path), frames=10).vectors)
        assert 3 <= found <= 6

    @pytest.mark.parametrize("number", ["99", "2147483648", "9" * 30, "9" * 5000], ids=len)
    def test_a_camera_that_is_not_there(self, embedder: Embedder, number: str):
        with pytest.raises(SourceUnusable, match=f"^The camera {number[:9]}"):
            take(embedder, number)


class FakeDevice:
    """A camera that gives its frames as fast as it is asked, then waits, then ends."""

    def __init__(self, frames: list[Frame], waits: bool = True) -> None:
        self.frames = list(frames)
        self.drained = threading.Event()
        self.let_go = threading.Event()
        self.released_while_reading: bool | None = None
        self._reading = False
        if not waits:
            self.let_go.set()

    def read(self) -> tuple[bool, Frame | None]:
        self._reading = True
        try:
            if self.frames:
                return True, self.frames.pop(0)
            self.drained.set()
            self.let_go.wait(10)
            return False, None
        finally:
            self._reading = False

    def release(self) -> None:
        self.released_while_reading = self._reading


def shades(*greys: int) -> list[Frame]:
    return [np.full((4, 6, 3), grey, np.uint8) for grey in greys]


class TestLatestFrame:
    def test_old_frames_are_dropped(self):
        device = FakeDevice(shades(10, 20, 30, 40))
        camera = LatestFrame(device, "0")
        assert device.drained.wait(5)
        assert camera.read()[0, 0, 0] == 40
        device.let_go.set()
        assert camera.read() is None
        camera.close()
        assert device.released_while_reading is False

    def test_each_frame_is_given_once(self):
        device = FakeDevice(shades(10))
        camera = LatestFrame(device, "0")
        assert camera.read() is not None
        threading.Timer(0.05, device.let_go.set).start()
        assert camera.read() is None  # waits for the end and does not repeat the frame
        camera.close()

    def test_the_last_frame_is_not_lost_in_the_end(self):
        device = FakeDevice(shades(10, 20), waits=False)
        camera = LatestFrame(device, "0")
        camera._thread.join(5)
        assert camera.read()[0, 0, 0] == 20
        assert camera.read() is None
        assert camera.read() is None
        camera.close()

    def test_colours_are_turned(self):
        frame = np.zeros((4, 6, 3), np.uint8)
        frame[..., 0] = 200  # blue, as OpenCV orders colours
        device = FakeDevice([frame])
        camera = LatestFrame(device, "0")
        assert camera.read()[0, 0].tolist() == [0, 0, 200]
        device.let_go.set()
        camera.close()

    def test_a_silent_device_is_an_error(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(capture, "_FIRST_FRAME", 0.05)
        device = FakeDevice([])
        camera = LatestFrame(device, "rtsp://camera/1")
        with pytest.raises(SourceUnusable, match="rtsp://camera/1 is open and sends no pictures"):
            camera.read()
        device.let_go.set()
        camera.close()

    def test_a_device_is_never_released_while_it_is_read(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(capture, "_LAST_READ", 0.05)
        device = FakeDevice([])
        camera = LatestFrame(device, "0")
        assert device.drained.wait(5)
        camera.close()  # comes back though the device hangs
        assert device.released_while_reading is None
        device.let_go.set()
        camera._thread.join(5)
        assert device.released_while_reading is False

    def test_a_probe_from_a_camera(
        self, embedder: Embedder, portraits: Portraits, monkeypatch: pytest.MonkeyPatch
    ):
        frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) for frame in portraits[0]]
        device = FakeDevice(frames, waits=False)
        device.isOpened = lambda: True
        opened: list[int | str] = []
        monkeypatch.setattr(cv2, "VideoCapture", lambda what: opened.append(what) or device)
        probe = take(embedder, "0", frames=3)
        assert opened == [0]
        assert 1 <= len(probe.vectors) <= 3
        assert probe.source == "0"
        assert device.released_while_reading is False


class _Stream(BaseHTTPRequestHandler):
    """Motion JPEG at /stream until the client leaves; one picture at /snapshot.jpg."""

    pictures: tuple[bytes, ...] = ()

    def do_GET(self) -> None:
        try:
            if self.path == "/snapshot.jpg":
                self._snapshot()
            else:
                self._stream()
        except ConnectionError:
            self.close_connection = True

    def _snapshot(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(self.pictures[0])))
        self.end_headers()
        self.wfile.write(self.pictures[0])

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            for picture in self.pictures:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n"
                self.wfile.write(head.encode() + b"\r\n" + picture + b"\r\n")
                time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(people: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """host:port of a server that streams the pictures of one person."""
    if not any(
        cv2.videoio_registry.getBackendName(b) == "FFMPEG"
        for b in cv2.videoio_registry.getStreamBackends()
    ):
        pytest.skip("this build of OpenCV has no FFmpeg and reads no streams")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    pictures = tuple(path.read_bytes() for path in next(iter(people.values())))
    handler = type("Handler", (_Stream,), {"pictures": pictures})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class TestStream:
    def test_motion_jpeg(self, embedder: Embedder, portraits: Portraits, address: str):
        probe = take(embedder, f"http://{address}/stream", frames=3)
        assert probe.vectors.shape == (3, embedder.encoder.card.dim)
        own = take(embedder, portraits[0][5]).vectors
        other = take(embedder, portraits[1][5]).vectors
        assert (probe.vectors @ own.T).mean() > 0.5 > (probe.vectors @ other.T).mean()

    def test_a_picture_that_ends_at_once(self, embedder: Embedder, address: str):
        assert len(take(embedder, f"http://{address}/snapshot.jpg").vectors) == 1

    def test_the_password_is_not_told(self, embedder: Embedder, address: str):
        probe = take(embedder, f"http://ada:p@ss@{address}/stream", frames=1)
        assert probe.source == f"http://***@{address}/stream"

    def test_nobody_answers(self, embedder: Embedder):
        with pytest.raises(SourceUnusable, match="The stream http://") as caught:
            take(embedder, "http://ada:secret@127.0.0.1:9/stream")
        assert "secret" not in str(caught.value)
        assert "ada" not in str(caught.value)
