"""The tables of what was measured and decided: calibrations, decisions, profiles, clusterings."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from store.columns import now
from store.schema import Base


class Calibration(Base):
    """A curve from similarity to error rates, as the JSON text its maker gave."""

    __tablename__ = "calibrations"

    id: Mapped[int] = mapped_column(primary_key=True)
    space: Mapped[str] = mapped_column(index=True)
    body: Mapped[str]
    digest: Mapped[str]  # of the data it was fitted on
    active: Mapped[bool]
    created: Mapped[datetime] = mapped_column(default=now)


class Decision(Base):
    """One answer that was given; it keeps a link to a person and never a name."""

    __tablename__ = "decisions"

    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[datetime] = mapped_column(default=now, index=True)
    kind: Mapped[str]  # verify, identify, compare
    answer: Mapped[str]  # yes, no, unsure
    person_id: Mapped[int | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL"), index=True
    )
    similarity: Mapped[float | None]
    threshold: Mapped[float | None]
    fmr: Mapped[float | None]
    space: Mapped[str]
    calibration_id: Mapped[int | None] = mapped_column(
        ForeignKey("calibrations.id", ondelete="SET NULL")
    )
    source: Mapped[str]
    # the threshold of "unsure", and whether one rests on a fitted tail; None: before revision 0002
    unsure_above: Mapped[float | None]
    extrapolated: Mapped[bool | None]
    actor: Mapped[str | None]  # who asked: an operating-system user or an API key


class Profile(Base):
    """The error rates that a site decides with, under a name."""

    __tablename__ = "profiles"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    fmr: Mapped[float]
    fpir: Mapped[float]
    unsure: Mapped[float]  # the second rate, as a multiple of the first
    created: Mapped[datetime] = mapped_column(default=now)


class Run(Base):
    """One clustering of a library."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    created: Mapped[datetime] = mapped_column(default=now)
    space: Mapped[str]
    method: Mapped[str]
    source: Mapped[str]
    parameters: Mapped[dict[str, Any] | None]
    state: Mapped[str | None]  # planned, applied or undone; None: applied, before revision 0003


class Cluster(Base):
    """One cluster of a run; it has a person once somebody has named it."""

    __tablename__ = "clusters"
    __table_args__ = (UniqueConstraint("run_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    number: Mapped[int]
    uid: Mapped[str | None]  # the same from run to run while most of its faces stay together
    person_id: Mapped[int | None] = mapped_column(
        ForeignKey("people.id", ondelete="SET NULL"), index=True
    )


class ClusterFace(Base):
    """A template that lies in a cluster."""

    __tablename__ = "cluster_faces"

    cluster_id: Mapped[int] = mapped_column(
        ForeignKey("clusters.id", ondelete="CASCADE"), primary_key=True
    )
    template_id: Mapped[int] = mapped_column(
        ForeignKey("templates.id", ondelete="CASCADE"), primary_key=True, index=True
    )
