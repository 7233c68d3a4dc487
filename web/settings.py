"""What a server is told when it starts; frozen, and carried to every worker as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from verify.opening import Places
from web.errors import SettingsWrong

MEBIBYTE = 1 << 20
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_RATE = re.compile(r"(\d+)/(\d*)([smh])")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds.

    Attributes:
        count: how many.
        seconds: in how long.
    """

    count: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Rate | None:
        """`5/10m`, `100/s`; `off` is None.

        Raises:
            SettingsWrong: it is neither.
        """
        if text == "off":
            return None
        found = _RATE.fullmatch(text)
        if found is None or int(found[1]) == 0:
            raise SettingsWrong(f"{text!r} is no rate: give one like 100/s, 5/10m, or off.")
        return cls(int(found[1]), int(found[2] or 1) * _UNITS[found[3]])


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server serves.

    Attributes:
        places: the gallery.
        rate: requests of one key, in one worker; None: no limit.
        detect_rate: the same for `/v1/detect`, which a live picture asks often.
        failures: requests with a wrong key, from one address; a key that holds passes.
        lockout: answers other than yes about one person; then nobody is answered about them.
        max_upload: bytes of one request with pictures.
        max_archive: bytes of an uploaded archive.
        max_frames: pictures in one request.
        waiting: requests with pictures in a worker, before others are refused with 429.
        linger: seconds a face may wait for others to be encoded with.
        threads: that decode and detect; 0: one a core.
        session_hours: how long the page stays signed in.
        spool: folder for uploads of jobs; None: beside the database, else the user's cache.
        job_workers: whether this server works on jobs.
        pad: what a gate against presentation attacks does to answers: off, observe, require.
        pad_gate: the name of that gate; see `verify.pad`.
        report: an HTML report of `vultus evaluate` that the page shows; None: there is none.
        secure: cookies are for HTTPS only: the server, or a proxy before it, speaks TLS.
    """

    places: Places = field(default_factory=Places)
    rate: Rate | None = Rate(200, 1.0)
    detect_rate: Rate | None = Rate(30, 1.0)
    failures: Rate | None = Rate(30, 60.0)
    lockout: Rate | None = Rate(5, 600.0)
    max_upload: int = 16 * MEBIBYTE
    max_archive: int = 2048 * MEBIBYTE
    max_frames: int = 8
    waiting: int = 64
    linger: float = 0.002
    threads: int = 0
    session_hours: float = 12.0
    spool: str | None = None
    job_workers: bool = True
    pad: str = "off"
    pad_gate: str = "recapture"
    report: str | None = None
    secure: bool = False

    def to_json(self) -> str:
        """JSON text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The settings another process wrote."""
        values = json.loads(text)
        for name in ("rate", "detect_rate", "failures", "lockout"):
            values[name] = None if values[name] is None else Rate(**values[name])
        return cls(**values | {"places": Places(**values["places"])})


def require_address(host: str, allow_remote: bool) -> None:
    """Refuse an address that other machines reach, unless that was asked for in so many words.

    Raises:
        SettingsWrong: it is not loopback.
    """
    if host not in LOOPBACK and not allow_remote:
        raise SettingsWrong(
            f"{host} can be reached by other machines: add --allow-remote if that is wanted, and "
            "serve it with --tls-cert and --tls-key or behind a proxy with TLS."
        )


def require_file(path: Path | None) -> str | None:
    """A file's path as text; None stays None.

    Raises:
        SettingsWrong: it is not there.
    """
    if path is not None and not path.is_file():
        raise SettingsWrong(f"{path} is no file: check the path.")
    return None if path is None else str(path)
