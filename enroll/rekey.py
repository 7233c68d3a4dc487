"""Sealing a gallery, opening it, renewing its templates, and a new master key.

What the rows need is one transaction (`store.resealing`); this adds what lies outside of the
database: old bytes leave its files, and index files with plain vectors are removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from index.errors import UnknownEngine
from index.opening import read_url
from store.errors import DatabaseUnusable, NotSealed
from store.ledger import Seal
from store.renewal import Renewal
from store.resealing import Progress, Resealed, SealStatus, reseal, rewrap, seal_status
from store.schema import IndexEngine, Template
from store.sealing import protection, vault_of
from store.synced import default_index_url, is_anothers

if TYPE_CHECKING:
    from store.session import Store
    from verify.opening import Parts


@dataclass(frozen=True, slots=True)
class Kept:
    """How a gallery is kept after a change.

    Attributes:
        status: as the rows say.
        rows: what was done; None where nothing had to be.
        removed: index files that held plain vectors and are gone.
        servers: index servers that hold plain vectors: their collections are to be dropped there.
        remark: why old bytes may still be in the database's files, or "".
    """

    status: SealStatus
    rows: Resealed | None
    removed: tuple[str, ...]
    servers: tuple[str, ...]
    remark: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **status_values(self.status),
            "changed": None if self.rows is None else asdict(self.rows),
            "index_files_removed": list(self.removed),
            "index_servers": list(self.servers),
            "remark": self.remark,
        }


def status_values(status: SealStatus) -> dict[str, Any]:
    """How a gallery is kept, as plain JSON values."""
    return {
        "sealed": status.sealed is not None,
        "key": status.sealed,
        "renewable": status.renewal,
        "epoch": status.epoch,
        "data_keys": status.keys,
        "templates": status.templates,
        "crops": status.crops,
        "not_sealed": status.plain,
    }


def status_of(parts: Parts) -> SealStatus:
    """How the gallery is kept; needs no key."""
    with parts.store.read() as session:
        return seal_status(session)


def seal(parts: Parts, renewal: Renewal | None = None, progress: Progress | None = None) -> Kept:
    """Seal every template and crop, and let no index be written any more.

    A gallery that is sealed already keeps its rows as they are, and is cleaned up again.

    Args:
        parts: the gallery.
        renewal: also turn the vectors by a secret transform, one for the gallery or one a person.
        progress: called with rows done and rows in all.

    Raises:
        KeyMissing, KeyUnusable: there is no key to seal with.
        KeyWrong: the gallery is sealed already, with another key.
    """
    with parts.store.begin() as session:
        vault, state = vault_of(session), protection(session)
        if state.sealed is not None:
            vault.master(state.sealed)
        wanted = renewal or _renewal(state.renewal)
        rows = None
        if state.sealed is None or wanted != state.renewal:
            master = vault.sealing_master(state.sealed)
            rows = reseal(session, master, wanted, progress)
        files, servers = _forget_engines(session, parts)
    return _cleaned(parts, rows, files, servers)


def unseal(parts: Parts, progress: Progress | None = None) -> Kept:
    """Store every template and crop as it is again; renewable ones are turned back.

    Raises:
        KeyMissing, KeyWrong, KeyUnusable: the gallery does not open.
        NotSealed: it is not sealed.
    """
    with parts.store.begin() as session:
        if protection(session).sealed is None:
            raise NotSealed
        rows = reseal(session, None, None, progress)
    return _cleaned(parts, rows, (), ())


def renew(parts: Parts, renewal: Renewal | None = None, progress: Progress | None = None) -> Kept:
    """Turn every vector by a new secret transform, under new data keys, without any photo.

    Args:
        parts: the gallery.
        renewal: one transform for the gallery, or one a person; None: as it is, else "gallery".
        progress: called with rows done and rows in all.

    Raises:
        NotSealed: nothing would keep the transform's secret.
        KeyMissing, KeyWrong, KeyUnusable: the gallery does not open.
    """
    with parts.store.begin() as session:
        state = protection(session)
        if state.sealed is None:
            raise NotSealed
        master = vault_of(session).master(state.sealed)
        wanted = renewal or _renewal(state.renewal) or "gallery"
        rows = reseal(session, master, wanted, progress)
    return _cleaned(parts, rows, (), ())


def rotate(parts: Parts) -> int | None:
    """Put the data keys under the first of the keys given; rows stay as they are.

    Returns:
        How many data keys; None where that key wraps them already.

    Raises:
        NotSealed: there is nothing to wrap.
        KeyMissing, KeyWrong, KeyUnusable: the old master key must be among those given.
    """
    with parts.store.begin() as session:
        state = protection(session)
        if state.sealed is None:
            raise NotSealed
        master = vault_of(session).sealing_master(state.sealed)
        others = select(Seal.id).where(Seal.master != master.fingerprint).limit(1)
        if state.sealed == master.fingerprint and session.scalar(others) is None:
            return None
        count = rewrap(session, master)
    _scrub(parts.store)
    return count


def _renewal(stored: str | None) -> Renewal | None:
    return stored if stored in ("gallery", "person") else None  # type: ignore[return-value]  # one of the two


def _cleaned(
    parts: Parts, rows: Resealed | None, files: Iterable[Path], servers: Iterable[str]
) -> Kept:
    """Remove what held the vectors before, after the commit."""
    removed = tuple(str(file) for file in files if _remove(file))
    remark = _scrub(parts.store)
    return Kept(status_of(parts), rows, removed, tuple(servers), remark)


def _scrub(store: Store) -> str:
    """Let old bytes leave the database's files; why they may not have, or ""."""
    try:
        store.scrub()
    except DatabaseUnusable as error:
        return f"old bytes may remain in the files: {error.reason}"
    return ""


def _forget_engines(session: Session, parts: Parts) -> tuple[list[Path], list[str]]:
    """The index files and servers that may hold plain vectors; their rows are deleted."""
    urls = list(session.scalars(select(IndexEngine.url)))
    if parts.places.index is not None:
        urls.append(parts.places.index)
    spaces = session.scalars(select(Template.space).distinct())
    urls += [default_index_url(parts.store, space) for space in spaces]
    session.execute(delete(IndexEngine))
    files, servers = [], []
    for url in dict.fromkeys(urls):
        try:
            place = read_url(url)
        except UnknownEngine:
            continue
        if place.path is not None:
            if not is_anothers(parts.store, place.path):
                files.append(place.path)
        elif "://" in url:
            servers.append(url)
    return files, servers


def _remove(file: Path) -> bool:
    """Remove an index file and what an interrupted writer left beside it; whether it was there."""
    for left in file.parent.glob(f".{escape(file.name)}.*"):
        left.unlink(missing_ok=True)
    there = file.is_file()
    file.unlink(missing_ok=True)
    return there
