"""A disk that loses what was not synced: the system calls of a process, read back from a trace.

`trace` runs a command under strace, which writes down every byte the process wrote and every sync.
`Disk` replays the calls and gives, at any of them, what may lie on the disk when the power goes:
what was synced is there; of what was written since, any 512-byte sector may be there or not; names
made, changed and removed come in their order, and are certain once their folder was synced. Syncing
a new file makes its name certain too, as ext4, XFS and Btrfs do. Files written through a mapping
(SQLite's -shm, which recovery makes anew) are not replayed.
"""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
CALLS = (
    "openat,close,write,pwrite64,writev,pwritev,pwritev2,lseek,fsync,fdatasync,ftruncate,truncate,"
    "fallocate,rename,renameat,renameat2,unlink,unlinkat,link,linkat,mkdir,mkdirat"
)
_LINE = re.compile(r"^(\w+)\((.*)\) += (-?\d+)(.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_PLACE = re.compile(r"^(-?\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")


@dataclass(frozen=True)
class Call:
    """One system call that succeeded.

    Attributes:
        name: `write`, `fsync`, …
        place: path of its descriptor, or the first path it names.
        rest: its arguments as strace writes them.
        result: what it returned.
        descriptor: the number of its descriptor, or -1.
    """

    name: str
    place: str
    rest: str
    result: int
    descriptor: int


def trace(command: Sequence[str], log: Path, *options: str, **given: object) -> int:
    """Run a command under strace (its first thread); the calls lie in `log`. Its exit code."""
    words = ["strace", "-qq", "-y", "-xx", "-s", "100000000", "-e", f"trace={CALLS}"]
    return subprocess.run(  # noqa: S603 - strace, and this project's own script
        [*words, *options, "-o", str(log), *command], check=False, **given,  # type: ignore[call-overload]
    ).returncode  # fmt: skip


def _plain(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def texts(rest: str) -> list[bytes]:
    """The strings among the arguments of a call."""
    return [_plain(found) for found in _TEXT.findall(rest)]


def calls(log: Path) -> Iterator[Call]:
    """The calls of a trace, in order."""
    for line in log.read_text(encoding="ascii").splitlines():
        found = _LINE.match(line)
        if not found or int(found[3]) < 0:
            continue
        name, rest, result = found[1], found[2], int(found[3])
        place = _PLACE.match(rest)
        if place and place[1] != "AT_FDCWD" and not name.endswith("at"):
            gone = bool(place[3])
            path = "" if gone else _plain(place[2]).decode()
            yield Call(name, path, rest, result, int(place[1]))
        else:
            named = texts(rest)
            path = named[0].decode() if named else ""
            if place and not path.startswith("/"):
                path = f"{_plain(place[2]).decode()}/{path}"
            yield Call(name, path, rest, result, -1)


@dataclass
class Node:
    """A file: what of it is on the disk for certain, and what was written since."""

    certain: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # None: cut off there

    def sync(self) -> None:
        """All that was written is certain."""
        for at, data in self.pending:
            _apply(self.certain, at, data)
        self.pending.clear()

    def after(self, draw: random.Random, kept: float) -> bytes:
        """What may be there: each sector of each write with the probability `kept`."""
        data = bytearray(self.certain)
        for at, block in self.pending:
            if block is None:
                if draw.random() < kept:
                    _apply(data, at, None)
                continue
            for start, part in _sectors(at, block):
                if draw.random() < kept:
                    _apply(data, start, part)
        return bytes(data)


def _apply(data: bytearray, at: int, block: bytes | None) -> None:
    if block is None:
        del data[at:]
        data.extend(bytes(at - len(data)))
        return
    data.extend(bytes(max(0, at - len(data))))
    data[at : at + len(block)] = block


def _sectors(at: int, block: bytes) -> Iterator[tuple[int, bytes]]:
    start = at
    while start < at + len(block):
        end = min((start // SECTOR + 1) * SECTOR, at + len(block))
        yield start, block[start - at : end - at]
        start = end


class Disk:
    """Replays calls below one folder.

    Args:
        root: the folder.
        lying: every sync is acknowledged, and nothing is on the disk for that.
    """

    def __init__(self, root: Path, *, lying: bool = False) -> None:
        self.root = str(root)
        self.lying = lying
        self.names: dict[str, Node] = {}
        self.certain: dict[str, Node] = {}
        self.moves: list[tuple[str, str, Node | None]] = []  # folder, name, node (None: removed)
        self.places: dict[int, int] = {}  # where the next write of a descriptor goes
        self.changes = 0

    def apply(self, call: Call) -> bool:
        """Replay one call; whether it changed what may be lost."""
        before = self.changes
        act = getattr(self, f"_{call.name}", None)
        if act is not None and (call.place.startswith(self.root) or call.name == "close"):
            act(call)
        return self.changes != before

    def after(self, seed: int, kept: float) -> dict[str, bytes]:
        """Files that may be on the disk if the power goes now, by their path below the root."""
        draw = random.Random(seed)  # noqa: S311 - repeatable, no secret
        names = dict(self.certain)
        number = (
            round(len(self.moves) * kept) if kept in {0, 1} else draw.randint(0, len(self.moves))
        )
        for _, name, node in self.moves[:number]:
            _put(names, name, node)
        return {
            name.removeprefix(self.root).lstrip("/"): node.after(draw, kept)
            for name, node in names.items()
        }

    def _move(self, name: str, node: Node | None) -> None:
        _put(self.names, name, node)
        self.moves.append((str(Path(name).parent), name, node))
        self.changes += 1

    def _openat(self, call: Call) -> None:
        self.places[call.result] = 0
        node = self.names.get(call.place)
        if node is None and "O_CREAT" in call.rest:
            self._move(call.place, Node())
        elif node is not None and "O_TRUNC" in call.rest:
            node.pending.append((0, None))
            self.changes += 1

    def _close(self, call: Call) -> None:
        self.places.pop(call.descriptor, None)

    def _write_at(self, call: Call, at: int, data: bytes) -> None:
        node = self.names.get(call.place)
        if node is not None:
            node.pending.append((at, data[: call.result]))
            self.changes += 1

    def _write(self, call: Call) -> None:
        at = self.places.get(call.descriptor, 0)
        self._write_at(call, at, b"".join(texts(call.rest)))
        self.places[call.descriptor] = at + call.result

    _writev = _write

    def _pwrite64(self, call: Call) -> None:
        self._write_at(call, int(call.rest.rsplit(",", 1)[1]), b"".join(texts(call.rest)))

    def _pwritev(self, call: Call) -> None:
        self._pwrite64(call)

    def _lseek(self, call: Call) -> None:
        self.places[call.descriptor] = call.result

    def _ftruncate(self, call: Call) -> None:
        node = self.names.get(call.place)
        if node is not None:
            node.pending.append((int(call.rest.rsplit(",", 1)[1]), None))
            self.changes += 1

    def _fsync(self, call: Call) -> None:
        if self.lying:
            return
        node = self.names.get(call.place)
        if node is None:  # a folder: its names are certain
            self._settle(lambda folder, _: folder == call.place)
            return
        node.sync()
        self._settle(lambda _, name: name == call.place)

    _fdatasync = _fsync

    def _settle(self, chosen: object) -> None:
        left = []
        for folder, name, node in self.moves:
            if chosen(folder, name):  # type: ignore[operator]
                _put(self.certain, name, node)
            else:
                left.append((folder, name, node))
        self.moves = left

    def _rename(self, call: Call) -> None:
        source, target = (text.decode() for text in texts(call.rest)[:2])
        node = self.names.get(source)
        if node is not None:
            self._move(target, node)
            self._move(source, None)

    def _unlink(self, call: Call) -> None:
        if call.place in self.names:
            self._move(call.place, None)

    def _unlinkat(self, call: Call) -> None:
        self._unlink(call)


def _put(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node
