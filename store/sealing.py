"""Templates and crops sealed at rest, and turned by a secret transform where they are renewable.

In a sealed gallery the vector of a template is AES-256-GCM under the data key of its person, bound
to the template's uid and space, and a crop under the same key, bound to its photo and box. So a
row that was changed or put in another's place does not open, and deleting a person's data key
(`ledger.Seal`) destroys what it sealed. Faces that nobody has named share one data key; naming one
seals it anew under the person's, in the same transaction.

    stored vector = version (1 byte) · epoch (4 bytes, little-endian) · nonce (12) · ciphertext, tag
    stored crop   = nonce (12) · ciphertext, tag

The epoch says which transform the vector was turned by (`store.renewal`), 0 by none. A row that has
no `seal_id` is stored as it is: a gallery that is not sealed pays for none of this.

N rows, D dimensions.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_bytes
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from store.changes import CHUNK
from store.errors import OneToOneOnly, RenewedMeanwhile, SealBroken, SealedIndex
from store.ledger import Seal
from store.renewal import SEED_BYTES, Transform
from store.schema import Face, Gallery, Photo, Template
from store.vault import KEY_BYTES, DataKey, Vault, decrypt, encrypt
from store.vectors import pack, unpack

_HEAD = struct.Struct("<BI")
_VERSION: Final = 1
_PROTECTION: Final = "protection"  # where a session keeps the gallery's


class Stored(NamedTuple):
    """A template's row, as far as its vector is concerned."""

    uid: str
    space: str
    vector: bytes
    seal_id: int | None


class StoredCrop(NamedTuple):
    """A face's row, as far as its crop is concerned; `box` is x, y, w, h as stored."""

    digest: str
    box: tuple[float, float, float, float]
    crop: bytes
    seal_id: int | None


class Turned(NamedTuple):
    """Vectors as an index holds them: float32 (N, D), turned by one transform or by none."""

    vectors: NDArray[np.float32]
    epoch: int
    transform: Transform | None


@dataclass(frozen=True, slots=True)
class Protection:
    """How a gallery keeps its vectors.

    Attributes:
        gallery: its uid.
        sealed: fingerprint of the master key; None: rows are stored as they are.
        renewal: "gallery", "person" or None.
        epoch: how often the transform was renewed.
        transform: the sealed seed of the gallery's transform, or None.
    """

    gallery: str
    sealed: str | None
    renewal: str | None
    epoch: int
    transform: bytes | None

    @property
    def mark(self) -> int:
        """The epoch that rows written now carry."""
        return 0 if self.renewal is None else self.epoch


@dataclass(frozen=True, slots=True)
class OpenSeal:
    """A data key and the row that keeps it."""

    id: int
    key: DataKey


def vault_of(session: Session) -> Vault:
    """What opens sealed rows in this session."""
    found = session.info.get("vault")
    return found if isinstance(found, Vault) else session.info.setdefault("vault", Vault())


def protection(session: Session, *, again: bool = False) -> Protection:
    """How the gallery keeps its vectors, read once a session, or `again`."""
    found = session.info.get(_PROTECTION)
    if isinstance(found, Protection) and not again:
        return found
    return _read_protection(session, lock=False)


def lock_protection(session: Session) -> Protection:
    """The same for a transaction that writes: nobody seals or renews the gallery before its end."""
    if session.info.get(f"{_PROTECTION}_locked") is session.get_transaction():
        return protection(session)
    found = _read_protection(session, lock=True)
    session.info[f"{_PROTECTION}_locked"] = session.get_transaction()
    return found


def put_protection(session: Session, wanted: Protection) -> None:
    """Write how the gallery keeps its vectors; the rows must be that way at the commit."""
    changed = update(Gallery).where(Gallery.id == 1)
    session.execute(
        changed.values(
            sealed=wanted.sealed,
            renewal=wanted.renewal,
            epoch=wanted.epoch,
            transform=wanted.transform,
        )
    )
    session.info[_PROTECTION] = wanted


def comparable(session: Session) -> bool:
    """Whether people of the gallery may be compared: they have no transform of their own."""
    return protection(session).renewal != "person"


def refuse_server(session: Session, url: str) -> None:
    """Make sure that vectors may be kept by a server.

    Raises:
        SealedIndex: the gallery is sealed.
    """
    if protection(session).sealed is not None:
        raise SealedIndex(url)


def require_comparable(session: Session) -> None:
    """Make sure that people of the gallery may be compared with each other.

    Raises:
        OneToOneOnly: each person has a transform of their own.
    """
    if not comparable(session):
        raise OneToOneOnly


def sealed_vector(
    session: Session, person_id: int | None, uid: str, space: str, vector: NDArray[np.float32]
) -> tuple[bytes, int | None]:
    """A vector as its row keeps it, and the id of the data key.

    Args:
        session: a transaction that writes.
        person_id: whose template it is; None for nobody's.
        uid: the template's.
        space: the vector space.
        vector: float32 (D,), unit length.

    Raises:
        InvalidVector: the vector is not that.
        KeyMissing, KeyWrong, KeyUnusable: the gallery is sealed and there is no key for it.
    """
    packed = pack(vector)
    state = lock_protection(session)
    if state.sealed is None:
        return packed, None
    seal = seal_for(session, state, person_id)
    transform = transform_for(session, state, seal.key, len(vector))
    kept = vector if transform is None else transform.turn(vector[None])[0]
    return lock_vector(seal.key, state.mark, uid, space, kept), seal.id


def opened(session: Session, rows: Sequence[Stored]) -> NDArray[np.float32]:
    """The vectors that templates were made with, up to float32 rounding.

    Args:
        session: a transaction.
        rows: of one space.

    Returns:
        float32 (N, D); (0, 0) without rows.

    Raises:
        KeyMissing, KeyWrong, KeyUnusable: they are sealed and there is no key for them.
        SealBroken: a row was changed or moved.
        InvalidVector: the rows are of several spaces.
    """
    if all(row.seal_id is None for row in rows):
        return unpack([row.vector for row in rows])
    vectors, epoch, keys = _unlocked(session, rows)
    state = _state_of(session, epoch)
    if state.mark == 0:
        return vectors
    if state.renewal == "gallery":
        transform = transform_for(session, state, None, vectors.shape[1])
        return vectors if transform is None else transform.back(vectors)
    ids = np.array([row.seal_id for row in rows])
    raw = np.empty_like(vectors)
    for seal_id in np.unique(ids).tolist():
        transform = transform_for(session, state, keys[seal_id], vectors.shape[1])
        mine = ids == seal_id
        raw[mine] = vectors[mine] if transform is None else transform.back(vectors[mine])
    return raw


def turned(session: Session, rows: Sequence[Stored]) -> Turned:
    """Vectors as an index holds them: still turned, and by what.

    Args:
        session: a transaction.
        rows: of one space; of a gallery whose people may be compared.

    Raises:
        OneToOneOnly: each person has a transform of their own.
        KeyMissing, KeyWrong, KeyUnusable, SealBroken, InvalidVector: as `opened`.
    """
    if all(row.seal_id is None for row in rows):
        return Turned(unpack([row.vector for row in rows]), 0, None)
    vectors, epoch, _ = _unlocked(session, rows)
    state = _state_of(session, epoch)
    if state.renewal == "person":
        raise OneToOneOnly
    transform = transform_for(session, state, None, vectors.shape[1]) if epoch else None
    return Turned(vectors, epoch, transform)


def sealed_crop(
    session: Session,
    person_id: int | None,
    digest: str,
    box: tuple[float, float, float, float],
    crop: bytes,
) -> tuple[bytes, int | None]:
    """A crop as its row keeps it, and the id of the data key; errors as `sealed_vector`."""
    state = lock_protection(session)
    if state.sealed is None:
        return crop, None
    seal = seal_for(session, state, person_id)
    return encrypt(seal.key.aead, crop, crop_belongs(digest, box)), seal.id


def opened_crops(session: Session, rows: Sequence[StoredCrop]) -> list[bytes | None]:
    """The crops of rows, in their order, None where the data key is gone; errors as `opened`."""
    keys = keys_of(session, {row.seal_id for row in rows if row.seal_id is not None})
    found: list[bytes | None] = []
    for row in rows:
        key = None if row.seal_id is None else keys.get(row.seal_id)
        if key is not None:
            belongs = crop_belongs(row.digest, row.box)
            found.append(
                decrypt(key.aead, row.crop, belongs, f"the crop of photo {row.digest[:12]}")
            )
        else:
            found.append(row.crop if row.seal_id is None else None)
    return found


def give_to(session: Session, template_ids: Sequence[int], person_id: int | None) -> None:
    """Seal templates and their crops under the data key of whoever they belong to from now on.

    Args:
        session: a transaction that writes.
        template_ids: at most `CHUNK`.
        person_id: None: nobody.
    """
    state = lock_protection(session)
    if state.sealed is None or not template_ids:
        return
    seal = seal_for(session, state, person_id)
    columns = (Template.id, Template.uid, Template.space, Template.vector, Template.seal_id)
    query = select(*columns).where(Template.id.in_(template_ids), Template.seal_id != seal.id)
    by_space: dict[str, list[tuple[int, Stored]]] = {}
    for key, uid, space, vector, seal_id in session.execute(query):
        by_space.setdefault(space, []).append((key, Stored(uid, space, vector, seal_id)))
    changed: list[dict[str, object]] = []
    for rows in by_space.values():
        vectors = opened(session, [row for _, row in rows])
        transform = transform_for(session, state, seal.key, vectors.shape[1])
        kept = vectors if transform is None else transform.turn(vectors)
        changed += [
            {
                "id": key,
                "seal_id": seal.id,
                "vector": lock_vector(seal.key, state.mark, row.uid, row.space, vector),
            }
            for (key, row), vector in zip(rows, kept, strict=True)
        ]
    if changed:
        session.execute(update(Template), changed)
    _reseal_crops(session, seal, template_ids)


def give_crops(session: Session, person_id: int, template_ids: Sequence[int]) -> None:
    """The same for the crops of templates that were sealed as the person's already."""
    _reseal_crops(session, seal_for(session, lock_protection(session), person_id), template_ids)


def _reseal_crops(session: Session, seal: OpenSeal, template_ids: Sequence[int]) -> None:
    owned = select(Template.face_id).where(Template.id.in_(template_ids))
    columns = (Face.id, Photo.digest, Face.x, Face.y, Face.w, Face.h, Face.crop, Face.seal_id)
    query = select(*columns).join(Photo, Photo.id == Face.photo_id)
    found = session.execute(query.where(Face.id.in_(owned), Face.seal_id != seal.id)).all()
    rows = [StoredCrop(row[1], row[2:6], row[6], row[7]) for row in found]
    changed = [
        {
            "id": row[0],
            "seal_id": seal.id,
            "crop": encrypt(seal.key.aead, crop, crop_belongs(stored.digest, stored.box)),
        }
        for row, stored, crop in zip(found, rows, opened_crops(session, rows), strict=True)
        if crop is not None
    ]
    if changed:
        session.execute(update(Face), changed)


def seal_for(session: Session, state: Protection, person_id: int | None) -> OpenSeal:
    """The data key of a person, or of what nobody has named; made when it is new."""
    whose = Seal.person_id.is_(None) if person_id is None else Seal.person_id == person_id
    query = select(Seal.id).where(whose).order_by(Seal.id.desc()).limit(1)
    session.flush()
    found = session.scalar(query)
    if found is None:
        return new_seals(session, state, [person_id])[0]
    return OpenSeal(found, keys_of(session, {found})[found])


def new_seals(session: Session, state: Protection, people: Sequence[int | None]) -> list[OpenSeal]:
    """Make a data key for each of these people, None standing for nobody."""
    vault = vault_of(session)
    master = vault.master(str(state.sealed))
    rows = []
    for person_id in people:
        seed = None
        if state.renewal == "person":
            seed = master.wrap(token_bytes(SEED_BYTES), state.gallery, seed=True)
        wrapped = master.wrap(token_bytes(KEY_BYTES), state.gallery)
        rows.append((wrapped, seed, {"person_id": person_id, "master": master.fingerprint}))
    made = insert(Seal).returning(Seal.id, sort_by_parameter_order=True)
    values = [row | {"wrapped": wrapped, "transform": seed} for wrapped, seed, row in rows]
    ids = session.scalars(made, values).all()
    return [
        OpenSeal(seal_id, vault.data_key(master.fingerprint, wrapped, seed, state.gallery))
        for seal_id, (wrapped, seed, _) in zip(ids, rows, strict=True)
    ]


def keys_of(session: Session, seal_ids: Iterable[int]) -> dict[int, DataKey]:
    """Seal id → its data key; one that is gone, its person being forgotten, is left out."""
    wanted = sorted(seal_ids)
    if not wanted:
        return {}
    vault, gallery = vault_of(session), protection(session).gallery
    found: dict[int, DataKey] = {}
    columns = (Seal.id, Seal.master, Seal.wrapped, Seal.transform)
    for start in range(0, len(wanted), CHUNK):
        query = select(*columns).where(Seal.id.in_(wanted[start : start + CHUNK]))
        for seal_id, master, wrapped, seed in session.execute(query):
            found[seal_id] = vault.data_key(master, wrapped, seed, gallery)
    return found


def transform_for(
    session: Session, state: Protection, key: DataKey | None, dim: int
) -> Transform | None:
    """What turns the vectors of D numbers under a data key; None: nothing does."""
    if state.renewal is None or state.sealed is None:
        return None
    vault = vault_of(session)
    if state.renewal == "person":
        seed = None if key is None else key.seed
    else:
        seed = vault.master(state.sealed).unwrap(state.transform or b"", state.gallery, seed=True)
    if seed is None:
        raise SealBroken("the seed of its transform is gone")
    return vault.transform(seed, dim)


def lock_vector(
    key: DataKey, epoch: int, uid: str, space: str, vector: NDArray[np.float32]
) -> bytes:
    """The sealed bytes of a vector that was turned already, float32 (D,)."""
    head = _HEAD.pack(_VERSION, epoch)
    return head + encrypt(key.aead, pack(vector), _vector_belongs(uid, space, head))


def crop_belongs(digest: str, box: tuple[float, float, float, float]) -> bytes:
    """What a crop is bound to."""
    return b"vultus crop 1\0" + digest.encode() + struct.pack("<4d", *box)


def _vector_belongs(uid: str, space: str, head: bytes) -> bytes:
    return b"vultus template 1\0%b\0%b\0%b" % (uid.encode(), space.encode(), head)


def _unlocked(
    session: Session, rows: Sequence[Stored]
) -> tuple[NDArray[np.float32], int, Mapping[int, DataKey]]:
    """The decrypted vectors, float32 (N, D), their one epoch, and the data keys by id."""
    keys = keys_of(session, {row.seal_id for row in rows if row.seal_id is not None})
    plain, epochs = [], set()
    for uid, space, blob, seal_id in rows:
        if seal_id is None:
            plain.append(blob)
            epochs.add(0)
            continue
        if seal_id not in keys:
            raise SealBroken(f"the data key of template {uid} is gone")
        head = blob[: _HEAD.size]
        if len(head) < _HEAD.size or head[0] != _VERSION:
            raise SealBroken(f"template {uid} is damaged, or of another version")
        epochs.add(_HEAD.unpack(head)[1])
        belongs = _vector_belongs(uid, space, head)
        plain.append(decrypt(keys[seal_id].aead, blob[_HEAD.size :], belongs, f"template {uid}"))
    if len(epochs) != 1:
        raise RenewedMeanwhile
    return unpack(plain), epochs.pop(), keys


def _state_of(session: Session, epoch: int) -> Protection:
    """The protection that rows of an epoch were written under."""
    state = protection(session)
    if state.mark != epoch:
        state = protection(session, again=True)
    if state.mark != epoch:
        raise RenewedMeanwhile
    return state


def _read_protection(session: Session, *, lock: bool) -> Protection:
    columns = (Gallery.uid, Gallery.sealed, Gallery.renewal, Gallery.epoch, Gallery.transform)
    query = select(*columns).where(Gallery.id == 1)
    row = session.execute(query.with_for_update() if lock else query).one()
    found = Protection(row.uid, row.sealed, row.renewal, row.epoch or 0, row.transform)
    session.info[_PROTECTION] = found
    return found
