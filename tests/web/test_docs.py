"""The commands of docs/http.md, run as they stand, and the gate of examples/."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import pytest

if TYPE_CHECKING:
    from .conftest import Served

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_run_as_they_stand(
    server: Served, album: dict[str, list[Path]], tmp_path: Path
):
    page = ROOT / "docs" / "http.md"
    script = re.search(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    assert script is not None
    for number, file in enumerate(list(album.values())[9][:3], 1):
        shutil.copy(file, tmp_path / f"ada{number}.jpg")
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", script[1]], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"URL": server.url, "KEY": server.keys["admin"]}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"answer":"yes"') == 6  # identify says it three times
    assert "event: end" in done.stdout
    assert "vultus_decisions_total" in done.stdout


def film(video: Path, picture: Path, frames: int) -> None:
    """A video of a picture that does not move."""
    seen = cv2.imread(str(picture))
    size = (seen.shape[1], seen.shape[0])
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, size)
    for _ in range(frames):
        writer.write(seen)
    writer.release()


def test_the_gate_opens_for_a_face_in_a_video(
    server: Served, album: dict[str, list[Path]], tmp_path: Path
):
    name = next(iter(album))
    video = tmp_path / "gate.avi"
    film(video, album[name][4], 1)
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "gate_loop.py", "--server", server.url, "--source",
         str(video), "--person", server.uid(name)],
        env=os.environ | {"VULTUS_API_KEY": server.keys["verify"], "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"open for {name}" in done.stdout


def test_a_stream_that_ends_is_opened_again(
    album: dict[str, list[Path]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    spec = importlib.util.spec_from_file_location("gate", ROOT / "examples" / "gate_loop.py")
    assert spec is not None
    assert spec.loader is not None
    gate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gate)
    video = tmp_path / "camera.avi"
    stream = gate.Newest(f"file://{video}", again=0.05)  # not there yet
    frames = stream.frames()
    film(tmp_path / "written.avi", next(iter(album.values()))[0], 3)
    (tmp_path / "written.avi").rename(video)
    shape = next(frames).shape
    video.unlink()  # the camera is away, and comes back
    film(tmp_path / "written.avi", next(iter(album.values()))[0], 3)
    (tmp_path / "written.avi").rename(video)
    assert [next(frames).shape for _ in range(10)] == [shape] * 10
    stream.ended = True
    assert "opening it again" in capfd.readouterr().out
