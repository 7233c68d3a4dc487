"""The tables. Read first; every other module of this package is a set of queries over them.

People own templates; a template is the vector of one face of one photo in one vector space. A
template without a person is a face of a library that nobody has named yet. Every change of what a
vector index should hold is a row of `changes`, numbered by the counter of the one row of `gallery`.

Times are aware UTC. Vectors are float32, little-endian, unit length. Boxes are in photo pixels.
"""

from datetime import datetime
from typing import Any, ClassVar
from uuid import uuid4

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from store.columns import NAMING_CONVENTION, UtcDateTime, now

DEFAULT_SITE = 0  # the id of the site whose name is ""


def new_uid() -> str:
    """A fresh random identifier, 32 hexadecimal digits, safe to show and to keep outside."""
    return uuid4().hex


class Base(DeclarativeBase):
    """Base of the tables."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        str: Text,
        bytes: LargeBinary,
        dict[str, Any]: JSON(none_as_null=True),
        list[list[float]]: JSON(none_as_null=True),
    }


class Gallery(Base):
    """The one row that says which gallery this is, its vector space and its last change."""

    __tablename__ = "gallery"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    uid: Mapped[str]
    space: Mapped[str | None]
    rev: Mapped[int] = mapped_column(default=0)
    created: Mapped[datetime] = mapped_column(default=now)
    # where the log of events ends: its length and the hash of its last row
    log_length: Mapped[int | None]
    log_head: Mapped[str | None]
    # fingerprint of the key that seals templates and crops; None: they are stored as they are
    sealed: Mapped[str | None]
    # how vectors are transformed (None, "gallery" or "person"), how often that was renewed, and
    # the sealed seed of the gallery's transform
    renewal: Mapped[str | None]
    epoch: Mapped[int | None]
    transform: Mapped[bytes | None]


class Site(Base):
    """A place or tenant with its own people; id 0 is the default one, named ""."""

    __tablename__ = "sites"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    # what holds for this site: retention, whether consent must be on record, what a gate shows
    policy: Mapped[dict[str, Any] | None]


class Person(Base):
    """Somebody, or some thing, that can be verified and identified."""

    __tablename__ = "people"
    __table_args__ = (UniqueConstraint("name", "site_id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True, default=new_uid)
    name: Mapped[str]
    site_id: Mapped[int] = mapped_column(ForeignKey("sites.id"), index=True)
    expires: Mapped[datetime | None]
    created: Mapped[datetime] = mapped_column(default=now)
    # why their data may be kept: the legal basis, since when, and where that is written down
    consent_basis: Mapped[str | None]
    consent_date: Mapped[datetime | None]
    consent_reference: Mapped[str | None]
    place: Mapped[Site] = relationship(lazy="joined", innerjoin=True)

    @property
    def site(self) -> str:
        """The name of the person's site, "" for the default one."""
        return self.place.name


class Photo(Base):
    """A file that was looked at, and what came of it."""

    __tablename__ = "photos"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)  # sha256 of the file's bytes, hexadecimal
    source: Mapped[str] = mapped_column(index=True)
    size: Mapped[int]  # bytes of the file
    width: Mapped[int]
    height: Mapped[int]
    taken: Mapped[datetime | None]
    added: Mapped[datetime] = mapped_column(default=now)
    outcome: Mapped[str]  # enrolled, rejected, library
    reason: Mapped[str | None]
    # whose photo this was said to be, so that forgetting them also forgets what was rejected
    claimed_id: Mapped[int | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL"), index=True
    )


class Face(Base):
    """One face of a photo: where it is and the aligned crop, as JPEG."""

    __tablename__ = "faces"

    id: Mapped[int] = mapped_column(primary_key=True)
    photo_id: Mapped[int] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"), index=True)
    x: Mapped[float]
    y: Mapped[float]
    w: Mapped[float]
    h: Mapped[float]
    points: Mapped[list[list[float]] | None]  # five pairs
    confidence: Mapped[float]
    quality: Mapped[dict[str, Any] | None]
    crop: Mapped[bytes]
    seal_id: Mapped[int | None]  # the key the crop is sealed under; None: it is not sealed


class Template(Base):
    """The vector of one face in one space; never changed, and its id is never used again."""

    __tablename__ = "templates"
    __table_args__ = (
        UniqueConstraint("face_id", "space"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True, default=new_uid)
    person_id: Mapped[int | None] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), index=True
    )
    face_id: Mapped[int] = mapped_column(ForeignKey("faces.id", ondelete="CASCADE"))
    space: Mapped[str]
    vector: Mapped[bytes]
    created: Mapped[datetime] = mapped_column(default=now)
    seal_id: Mapped[int | None]  # the key the vector is sealed under; None: it is not sealed


class Change(Base):
    """One thing an index must do to follow: add or remove a template."""

    __tablename__ = "changes"
    __table_args__ = (CheckConstraint("op IN ('add', 'remove')", name="op"),)

    rev: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    template_id: Mapped[int]  # no foreign key: a removed template is gone
    op: Mapped[str]
    # random: two histories that part, as after restoring a backup, do not share it
    tag: Mapped[str]


class IndexEngine(Base):
    """A vector index, and the last change it has kept."""

    __tablename__ = "engines"

    url: Mapped[str] = mapped_column(primary_key=True)
    space: Mapped[str]
    rev: Mapped[int]
