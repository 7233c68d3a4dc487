"""Questions from one worker to another, about what lives in one process's memory.

Each worker listens on a Unix socket in a folder that only their user may enter; a question is one
line of JSON, and so is its answer. A server of one worker needs none of this.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from web.logs import LOGGER

FOLDER = "VULTUS_WORKERS"  # how `vultus serve` tells its workers where to find each other
_NAME = re.compile(r"[0-9a-f]{8}")
_SECONDS = 5.0
_LONGEST = 1 << 20  # bytes of a line
_log = logging.getLogger(LOGGER)

Message = dict[str, Any]


class Relay:
    """This worker's socket, and the way to the others.

    Attributes:
        name: this worker's, eight hexadecimal digits.
    """

    def __init__(self, folder: Path | None, answer: Callable[[Message], Message]) -> None:
        """Not started.

        Args:
            folder: where the workers' sockets lie; None: there is one worker only.
            answer: answers another worker's question.
        """
        self.name = secrets.token_hex(4)
        self._folder, self._answer = folder, answer
        self._server: socketserver.ThreadingUnixStreamServer | None = None

    def start(self) -> None:
        """Begin to listen."""
        if self._folder is None:
            return
        answer = self._answer

        class Asked(socketserver.StreamRequestHandler):
            timeout = _SECONDS

            def handle(self) -> None:
                line = self.rfile.readline(_LONGEST)
                self.wfile.write(json.dumps(answer(json.loads(line))).encode() + b"\n")

        try:
            self._server = _Server(str(self._path(self.name)), Asked)
        except OSError as error:  # such as a path that is too long for a socket
            _log.warning("workers cannot ask each other", extra={"reason": error.strerror})
            return
        threading.Thread(
            target=self._server.serve_forever, name="vultus-relay", daemon=True
        ).start()

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._path(self.name).unlink(missing_ok=True)
            self._server = None

    def ask(self, worker: str, question: Message) -> Message | None:
        """Ask another worker.

        Args:
            worker: its name, as somebody claims.
            question: plain JSON values.

        Returns:
            Its answer; None where there is no such worker any more.
        """
        if self._folder is None or worker == self.name or not _NAME.fullmatch(worker):
            return None
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_SECONDS)
            try:
                line.connect(str(self._path(worker)))
                line.sendall(json.dumps(question).encode() + b"\n")
                with line.makefile("rb") as told:
                    found: Message = json.loads(told.readline(_LONGEST))
            except (OSError, ValueError):
                return None
        return found

    def _path(self, worker: str) -> Path:
        return (self._folder or Path()) / f"{worker}.sock"


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A worker that asked is gone; nothing of what it asked is printed."""
        _log.warning("a question of another worker was not answered")
