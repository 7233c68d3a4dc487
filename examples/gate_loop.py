"""A gate: read a camera, wait for a good face, ask the server, open or do not.

    VULTUS_API_KEY=vk_… python gate_loop.py --server http://127.0.0.1:8700 --source 0
    python gate_loop.py --source rtsp://camera/stream --person 9f0c…

Made for a small computer (a Raspberry Pi): a thread keeps only the newest frame, so that the gate
sees now and not a queue of the past; the source is opened again when it breaks; the server does
the recognition. With --person the question is "is it them", without it "who is it". A file ends
the loop at its end. Replace `open_gate` with what moves your door.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from vultus import Client
from web.errors import ClientError

AGAIN = 2.0  # seconds before a broken source is opened again
REST = 3.0  # seconds after an answer, so that one person is asked about once


class Newest:
    """A source of frames of which only the newest counts; it is opened again when it breaks."""

    def __init__(self, source: str, again: float = AGAIN) -> None:
        self._again = again
        self._source = int(source) if source.isdecimal() else source
        self._live = source.isdecimal() or "://" in source
        self._frame: np.ndarray | None = None
        self._taken = threading.Event()
        self._changed = threading.Condition()
        self.ended = False
        threading.Thread(target=self._follow, daemon=True).start()

    def frames(self) -> Iterator[np.ndarray]:
        """Frames, uint8 (H, W, 3) BGR, each the newest there is when it is asked for."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frame is not None or self.ended)
                frame, self._frame = self._frame, None
            self._taken.set()
            if frame is None:
                return
            yield frame

    def _follow(self) -> None:
        while not self.ended:
            device = cv2.VideoCapture(self._source)
            while device.isOpened():
                there, frame = device.read()
                if not there:
                    break
                with self._changed:
                    self._frame = frame
                    self._changed.notify()
                if not self._live:  # a file waits until its frame was looked at
                    self._taken.wait()
                    self._taken.clear()
            device.release()
            if self._live:
                print("the source is away; opening it again", flush=True)
                time.sleep(self._again)
            else:
                with self._changed:
                    self.ended = True
                    self._changed.notify()


def open_gate(name: str | None) -> None:
    """Open the gate; here it only says so."""
    print(f"open for {name}", flush=True)


def ask(server: Client, picture: bytes, person: str | None) -> tuple[str, str | None]:
    """The answer about a picture, and a name."""
    if person is not None:
        decision = server.verify(person, picture, on_multiple="largest")
        return decision.answer, decision.person
    found = server.identify(picture, limit=1)
    return found.answer, next((face.person for face in found.faces if face.person), None)


def main() -> None:
    """Run until the source ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default="http://127.0.0.1:8700")
    parser.add_argument("--source", default="0", help="camera number, stream or video file")
    parser.add_argument("--person", help="uid; without it: who is it?")
    given = parser.parse_args()
    with Client(given.server, timeout=10.0) as server:
        for frame in Newest(given.source).frames():
            picture = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
            try:
                told = server.detect(picture)["guidance"]
                if told != "ok":
                    print(told, flush=True)
                    continue
                answer, name = ask(server, picture, given.person)
            except ClientError as error:
                print(f"{error.code}: {error}", flush=True)
                time.sleep(error.retry_after or AGAIN)
                continue
            if answer == "yes":
                open_gate(name)
            else:
                print(answer, flush=True)
            time.sleep(REST)


if __name__ == "__main__":
    main()
