"""A sealed archive's file: what was written comes back, and nothing that was changed does."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from enroll.archive_sealed import MAGIC, SealedReader, SealedWriter, unsealed
from enroll.errors import ArchiveUnusable
from store.errors import KeyMissing, KeyWrong
from store.vault import Vault, new_key

PIECE, TAG, HEAD = 1 << 16, 16, 92
WHOLE = PIECE + TAG
SIZES = (1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 17)


@pytest.fixture(autouse=True)
def _no_keys_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VULTUS_KEY", "VULTUS_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    new_key(tmp_path / "key")
    return Vault(tmp_path / "key")


def sealed(data: bytes, vault: Vault, step: int = 10_000) -> bytes:
    """Data as a sealed archive, written a few bytes at a time."""
    file = io.BytesIO()
    with SealedWriter(file, vault.sealing_master()) as writer:
        for start in range(0, len(data), step):
            assert writer.write(data[start : start + step]) == len(data[start : start + step])
    return file.getvalue()


def opened(archive: bytes, vault: Vault) -> bytes:
    return unsealed(io.BytesIO(archive), "a.vultus", vault).read()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [777, PIECE, 5 * PIECE])
def test_what_was_written_comes_back(vault: Vault, size: int, step: int):
    data = os.urandom(size)
    archive = sealed(data, vault, step)
    assert opened(archive, vault) == data
    assert len(archive) == HEAD + size + TAG * -(-size // PIECE)
    assert size < TAG or data[:TAG] not in archive


def test_it_can_be_read_from_any_place(vault: Vault):
    data = os.urandom(3 * PIECE + 17)
    reader = unsealed(io.BytesIO(sealed(data, vault)), "a.vultus", vault)
    for place in (0, 5, PIECE - 1, PIECE, 2 * PIECE + 9, len(data) - 1, len(data), len(data) + 9):
        reader.seek(place)
        assert reader.read(PIECE + 3) == data[place : place + PIECE + 3]
    assert reader.seek(-4, os.SEEK_END) == len(data) - 4
    assert reader.seek(1, os.SEEK_CUR) == len(data) - 3
    assert reader.read() == data[-3:]
    with pytest.raises(ValueError, match="before the beginning"):
        SealedReader(io.BytesIO(sealed(data, vault)), "a.vultus", vault).seek(-1)


def test_two_archives_of_the_same_have_nothing_in_common(vault: Vault):
    first, second = (sealed(bytes(3 * PIECE), vault) for _ in range(2))
    alike = sum(a == b for a, b in zip(first[HEAD:], second[HEAD:], strict=True))
    assert alike < len(first) / 100  # 1 in 256 by chance


def test_what_is_not_sealed_is_read_as_it_is(vault: Vault):
    file = io.BytesIO(b"PK\x03\x04")
    assert unsealed(file, "a.vultus", vault) is file
    assert file.read() == b"PK\x03\x04"


def flipped(place: int) -> Callable[[bytes], bytes]:
    def change(archive: bytes) -> bytes:
        spoiled = bytearray(archive)
        spoiled[place] ^= 1
        return bytes(spoiled)

    return change


def cut(end: int) -> Callable[[bytes], bytes]:
    return lambda archive: archive[:end]


def put(*order: int) -> Callable[[bytes], bytes]:
    """The pieces of an archive in another order."""

    def change(archive: bytes) -> bytes:
        pieces = [archive[start : start + WHOLE] for start in range(HEAD, len(archive), WHOLE)]
        return archive[:HEAD] + b"".join(pieces[number] for number in order)

    return change


@pytest.mark.parametrize(
    "change",
    [
        *map(flipped, (HEAD - 1, HEAD, HEAD + WHOLE - 1, HEAD + 2 * WHOLE, -1)),
        *map(cut, (30, HEAD, HEAD + 7, HEAD + TAG, HEAD + WHOLE, HEAD + 3 * WHOLE)),
        *map(cut, (HEAD + 3 * WHOLE + 5, HEAD + 3 * WHOLE + TAG, -1)),
        put(1, 0, 2, 3), put(0, 0, 2, 3), put(0, 2, 3), put(3, 0, 1, 2), put(0, 1, 2, 3, 3),
        lambda archive: archive + bytes(100),
    ],
)  # fmt: skip
def test_whatever_is_changed_is_found(vault: Vault, change: Callable[[bytes], bytes]):
    changed = change(sealed(os.urandom(3 * PIECE + 100), vault))
    with pytest.raises(ArchiveUnusable, match=r"a\.vultus cannot be imported: it was c"):
        opened(changed, vault)


def test_pieces_of_another_archive_are_found(vault: Vault):
    data = os.urandom(2 * PIECE)
    one, other = sealed(data, vault), sealed(data, vault)
    with pytest.raises(ArchiveUnusable, match="changed or cut off"):
        opened(one[:HEAD] + other[HEAD:], vault)


def test_it_opens_with_its_key_only(vault: Vault, tmp_path: Path):
    archive = sealed(b"faces", vault)
    fingerprint = vault.masters()[0].fingerprint
    with pytest.raises(KeyMissing, match=f"{fingerprint}.*--key-file"):
        opened(archive, Vault())
    new_key(tmp_path / "other")
    with pytest.raises(KeyWrong, match=fingerprint):
        opened(archive, Vault(tmp_path / "other"))
    renamed = bytearray(archive)
    renamed[len(MAGIC)] ^= 1
    with pytest.raises(KeyWrong, match="--key-file"):
        opened(bytes(renamed), vault)
    new_key(tmp_path / "key")
    assert opened(archive, Vault(tmp_path / "key")) == b"faces"  # the older key still opens


def test_a_file_that_cannot_be_written_is_told_once(vault: Vault):
    file = io.BytesIO()
    writer = SealedWriter(file, vault.sealing_master())
    writer.write(b"x")
    file.close()
    with pytest.raises(ValueError, match="closed"):
        writer.close()
    writer.close()
    assert writer.closed


def test_a_zip_inside_is_read_member_by_member(vault: Vault):
    file = io.BytesIO()
    with (
        SealedWriter(file, vault.sealing_master()) as writer,
        zipfile.ZipFile(writer, "w") as archive,
    ):
        for number in range(5):
            archive.writestr(f"{number}.bin", bytes([number]) * 50_000)
    with zipfile.ZipFile(unsealed(file, "a.vultus", vault)) as back:
        assert back.testzip() is None
        assert [back.read(f"{n}.bin") == bytes([n]) * 50_000 for n in (4, 0, 2)] == [True] * 3
