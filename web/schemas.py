"""What the routes take and give, as OpenAPI tells it; its examples are of nobody."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

UID = "9f0c2d4e6a8b4c1d8e7f0a1b2c3d4e5f"
Uid = Annotated[str, Field(pattern="^[0-9a-f]{32}$", examples=[UID])]
Answer = Literal["yes", "no", "unsure"]


class Model(BaseModel):
    """Base: what is not in the schema is refused."""

    model_config = ConfigDict(extra="forbid")


class Failure(Model):
    """What went wrong."""

    code: str = Field(examples=["unknown_person"])
    message: str = Field(examples=["Nobody called '9f0c…' is enrolled."])
    details: dict[str, Any] = Field(default_factory=dict, examples=[{}])


class Problem(Model):
    """The one form every error has."""

    error: Failure
    request_id: str = Field(examples=["5f2b8c1d9e0a4b6c"])


class Person(Model):
    """Somebody who is enrolled."""

    uid: Uid
    name: str = Field(examples=["Ada Vale"])
    site: str = Field(examples=[""], description="The default site is the empty text.")
    created: datetime = Field(examples=["2026-11-22T09:30:00+00:00"])
    expires: datetime | None = Field(examples=[None])
    photos: int = Field(examples=[3])
    templates: int = Field(examples=[3])
    thumbnail: str | None = Field(
        examples=[f"/v1/templates/{UID}/crop"], description="URL of a crop; needs the key too."
    )


class Template(Model):
    """The vector of one photo of a person; the vector itself is never sent."""

    uid: Uid
    created: datetime = Field(examples=["2026-11-22T09:30:00+00:00"])
    space: str = Field(examples=["sface-128-a31d"])
    quality: dict[str, Any] | None = Field(examples=[{"size": 96.2, "sharpness": 0.41}])
    photo: str = Field(examples=["3b1f…"], description="sha256 of the photo's file.")
    crop: str = Field(examples=[f"/v1/templates/{UID}/crop"])


class PersonWithTemplates(Person):
    """A person and their templates."""

    items: list[Template]


class PeoplePage(Model):
    """A page of people."""

    items: list[Person]
    next: str | None = Field(examples=[None], description="Cursor of the next page, or null.")


class TemplatesList(Model):
    """The templates of a person."""

    items: list[Template]


class PictureOutcome(Model):
    """What became of one picture."""

    index: int = Field(examples=[0])
    status: Literal["enrolled", "unchanged", "rejected"]
    reason: str | None = Field(examples=[None], description="Such as face_not_found.")
    detail: str = Field(examples=[""])
    faces: int = Field(examples=[1])


class Enrolled(Model):
    """A person, and what became of each picture."""

    person: Person
    outcomes: list[PictureOutcome]


class NewName(Model):
    """Another name."""

    name: str = Field(min_length=1, max_length=200, examples=["Ada Vale-Moor"])


class Into(Model):
    """Whom to merge into."""

    into: Uid


class Erased(Model):
    """What was erased."""

    model_config = ConfigDict(extra="allow")
    forgot: str = Field(examples=["person"])


class Pad(Model):
    """What presentation attack detection found."""

    model_config = ConfigDict(extra="allow")
    outcome: Literal["bona_fide", "attack", "undecided", "not_run"]


class Decision(Model):
    """An answer and everything it rests on."""

    answer: Answer
    verified: bool | None = Field(examples=[True])
    person: str | None = Field(examples=["Ada Vale"])
    similarity: float = Field(examples=[0.71])
    distance: float = Field(examples=[0.29])
    threshold: float = Field(examples=[0.36])
    unsure_above: float = Field(examples=[0.29])
    fmr: float = Field(examples=[0.001])
    unsure_fmr: float | None = Field(examples=[0.01])
    extrapolated: bool = Field(examples=[False])
    probability: float | None = Field(examples=[0.9999])
    templates: int = Field(examples=[3])
    model: str = Field(examples=["sface-128-a31d"])
    device: str = Field(examples=["cpu"])
    time_ms: float = Field(examples=[14.2])
    reasons: list[str] = Field(examples=[[]])
    pad: Pad = Field(default_factory=lambda: Pad(outcome="not_run"))


class Quality(Model):
    """Measures of a face; see docs/quality.md."""

    model_config = ConfigDict(extra="allow")
    size: float = Field(examples=[96.0])


class Candidate(Model):
    """Somebody a face may be."""

    uid: str = Field(examples=[UID])
    person: str = Field(examples=["Ada Vale"])
    site: str = Field(examples=[""])
    similarity: float = Field(examples=[0.71])
    distance: float = Field(examples=[0.29])
    answer: Answer
    thumbnail: str | None = Field(examples=[None])


class IdentifiedFace(Model):
    """One face and who it is."""

    box: list[float] = Field(examples=[[61.0, 48.5, 110.2, 140.9]])
    quality: Quality
    answer: Answer
    person: str | None = Field(examples=["Ada Vale"])
    threshold: float = Field(examples=[0.44])
    unsure_above: float = Field(examples=[0.36])
    fpir: float = Field(examples=[0.01])
    unsure_fpir: float = Field(examples=[0.1])
    extrapolated: bool = Field(examples=[False])
    gallery_size: int = Field(examples=[1200])
    agreement: float = Field(examples=[1.0])
    candidates: list[Candidate]


class Identified(Model):
    """Who is in a picture."""

    answer: Answer
    reason: str | None = Field(examples=[None])
    detail: str = Field(examples=[""])
    faces: list[IdentifiedFace]
    width: int = Field(examples=[250])
    height: int = Field(examples=[250])
    time_ms: float = Field(examples=[18.0])


class DetectedFace(Model):
    """A face in a live picture."""

    box: list[float] = Field(examples=[[61.0, 48.5, 110.2, 140.9]])
    points: list[list[float]] | None = Field(
        examples=[[[88.0, 96.0], [130.1, 95.2], [110.3, 121.7], [92.4, 145.0], [127.9, 144.1]]]
    )
    confidence: float = Field(examples=[0.93])
    quality: Quality


class Detected(Model):
    """What a live picture shows, and what the person should do."""

    faces: list[DetectedFace]
    guidance: Literal[
        "no_face", "closer", "too_close", "turn_to_light", "one_face_only", "hold_still",
        "look_ahead", "ok",
    ]  # fmt: skip
    width: int = Field(examples=[640])
    height: int = Field(examples=[480])


class SignIn(Model):
    """A key to open a session of the page with."""

    key: str = Field(min_length=1, max_length=200, examples=["vk_0123456789ab_…"])


class SignedIn(Model):
    """Who is signed in, and what unsafe requests must repeat in X-CSRF-Token."""

    name: str = Field(examples=["front-desk"])
    scopes: list[str] = Field(examples=[["verify"]])
    sites: list[str] | None = Field(examples=[None])
    csrf: str = Field(examples=["kq…"])


class Photo(Model):
    """A file that was looked at."""

    digest: str = Field(examples=["3b1f…"])
    source: str = Field(examples=["http"])
    outcome: str = Field(examples=["enrolled"])
    reason: str | None = Field(examples=[None])
    width: int = Field(examples=[250])
    height: int = Field(examples=[250])
    added: datetime = Field(examples=["2026-11-22T09:30:00+00:00"])


class PhotosPage(Model):
    """A page of photos."""

    items: list[Photo]
    next: str | None = Field(examples=[None])


class Job(Model):
    """Long work."""

    uid: Uid
    kind: str = Field(examples=["enrol_zip"])
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    done: int = Field(examples=[120])
    total: int | None = Field(examples=[500])
    result: dict[str, Any] | None = Field(examples=[None])
    error: dict[str, Any] | None = Field(examples=[None])
    created: datetime = Field(examples=["2026-11-22T09:30:00+00:00"])
    finished: datetime | None = Field(examples=[None])


class JobsPage(Model):
    """A page of jobs."""

    items: list[Job]
    next: str | None = Field(examples=[None])


class Health(Model):
    """How the server is."""

    status: Literal["ok", "starting", "unavailable"]


class Begin(Model):
    """How a challenge is begun."""

    person: Uid | None = Field(default=None, description="Whom it is for; null: anybody.")
    mirrored: bool = Field(default=False, description="The pictures are mirror images.")


class Challenge(Model):
    """Where a challenge stands."""

    id: str = Field(examples=["mK3…"])
    instruction: Literal["straight", "left", "right"] | None
    text: str = Field(examples=["turn your head to your left"])
    hint: str = Field(examples=[""])
    step: int = Field(examples=[1])
    steps: int = Field(examples=[7])
    seconds_left: float = Field(examples=[6.0])
    result: Pad | None


class Cluster(Model):
    """Faces of one person, as far as can be told."""

    number: int = Field(examples=[1])
    size: int = Field(examples=[14])
    name: str | None = Field(examples=[None])
    person: str | None = Field(examples=[None], description="uid of whom it is, once it is named.")
    thumbnail: str | None = Field(examples=[f"/v1/templates/{UID}/crop"])


class ClustersPage(Model):
    """A page of clusters."""

    items: list[Cluster]
    next: str | None = Field(examples=[None])


class ClusterFace(Model):
    """A face of a cluster."""

    template: Uid
    crop: str = Field(examples=[f"/v1/templates/{UID}/crop"])
    photo: str = Field(examples=["3b1f…"])
    person: str | None = Field(examples=[None], description="uid of whose it is, else null.")


class FacesPage(Model):
    """A page of faces."""

    items: list[ClusterFace]
    next: str | None = Field(examples=[None])


class ClusterName(Model):
    """Who a cluster is."""

    name: str = Field(min_length=1, max_length=200, examples=["Ada Vale"])
    site: str = Field(default="", max_length=200)


class Named(Model):
    """Who a cluster is now."""

    person: str = Field(examples=["Ada Vale"])
    faces: int = Field(examples=[14])
    added: bool = Field(description="Whether the person is new.")


class Split(Model):
    """Which templates become a new person."""

    templates: list[Uid] = Field(min_length=1, max_length=1000)
    name: str = Field(min_length=1, max_length=200, examples=["Bea Ott"])


class Move(Model):
    """Where faces belong."""

    templates: list[Uid] = Field(min_length=1, max_length=1000)
    to: int | None = Field(
        examples=[2], default=None, ge=0, description="A cluster; null: one of their own."
    )


class Faces(Model):
    """Some faces."""

    templates: list[Uid] = Field(min_length=1, max_length=1000)


class Numbers(Model):
    """Some clusters."""

    numbers: list[Annotated[int, Field(ge=0)]] = Field(
        examples=[[2, 5]], min_length=2, max_length=100
    )


class Regrouped(Model):
    """What was done to clusters."""

    kind: str = Field(examples=["together"])
    cluster: int | None = Field(examples=[2], description="The cluster that has the faces now.")
    operation: int | None = Field(examples=[7], description="What undo takes.")


class Said(Model):
    """Whether two groups of faces are one person."""

    answer: Literal["same", "different", "skip"]


class SuggestedFaces(Model):
    """One side of a suggestion."""

    cluster: int = Field(examples=[2])
    name: str | None = Field(examples=[None])
    size: int = Field(examples=[14])
    faces: list[str] = Field(
        examples=[[f"/v1/templates/{UID}/crop"]], description="URLs of some crops."
    )


class Suggestion(Model):
    """Two groups of faces that may be one person."""

    id: str = Field(examples=["0f1e2d3c4b5a6978"])
    kind: Literal["merge", "split"]
    probability: float = Field(examples=[0.83], description="That the change is right.")
    similarity: float = Field(examples=[0.41])
    sides: list[SuggestedFaces]


class SuggestionsList(Model):
    """Suggestions, the most probable first."""

    items: list[Suggestion]


class NotThem(Model):
    """Whom a face is not."""

    person: Uid


class Correction(Model):
    """What a correction did."""

    kind: str = Field(examples=["split"])
    templates: int = Field(examples=[2])
    operation: int | None = Field(examples=[7], description="What undo takes.")


class Operation(Model):
    """Something that can be undone."""

    number: int = Field(examples=[7])
    time: datetime = Field(examples=["2026-11-22T09:30:00+00:00"])
    actor: str = Field(examples=["key:front-desk"])
    kind: str = Field(examples=["merge"])
    people: list[str] = Field(examples=[["Ada Vale", "Bea Ott"]])
    undone: datetime | None = Field(examples=[None])
    undoable: bool


class OperationsList(Model):
    """Operations."""

    items: list[Operation]


class Undo(Model):
    """What to undo."""

    operation: int | None = Field(examples=[7], default=None, ge=1, description="null: the latest.")


class Calibration(Model):
    """What says what a similarity means."""

    number: int | None = Field(examples=[3], description="null: the one shipped with the encoder.")
    space: str = Field(examples=["sface-128-a31d"])
    source: str = Field(examples=["people"])
    active: bool
    smallest_fmr: float = Field(examples=[3.1e-05])
    created: datetime | None = Field(examples=["2026-11-22T09:30:00+00:00"])


class CalibrationsList(Model):
    """Calibrations."""

    items: list[Calibration]


class Profile(Model):
    """The error rates of a site."""

    name: str = Field(examples=["gate"])
    fmr: float = Field(examples=[0.001])
    fpir: float = Field(examples=[0.01])
    unsure: float = Field(examples=[10.0])
    built_in: bool


class ProfilesList(Model):
    """Profiles."""

    items: list[Profile]


class Event(Model):
    """A row of the log."""

    number: int = Field(examples=[1204])
    time: datetime = Field(examples=["2026-11-22T09:30:00+00:00"])
    actor: str = Field(examples=["key:front-desk"])
    action: str = Field(examples=["enrolled"])
    subject: str | None = Field(examples=[UID])
    details: dict[str, Any] = Field(examples=[{"photos": 3}])
    private: dict[str, Any] | None = Field(examples=[{"name": "Ada Vale"}])
    hash: str = Field(examples=["9f2c41…"])


class EventsPage(Model):
    """A page of the log."""

    items: list[Event]
    next: str | None = Field(examples=[None])


class LogState(Model):
    """Whether the log is whole."""

    whole: bool = Field(examples=[True])
    length: int = Field(examples=[1204])
    head: str = Field(examples=["9f2c41…"])
    row: int | None = Field(examples=[None])
    fault: str | None = Field(examples=[None])


class Recorded(Model):
    """A decision on record."""

    number: int = Field(examples=[310])
    time: datetime = Field(examples=["2026-11-22T09:30:00+00:00"])
    kind: str = Field(examples=["verify"])
    answer: Answer
    person: str | None = Field(examples=[UID], description="uid")
    similarity: float | None = Field(examples=[0.71])
    threshold: float | None = Field(examples=[0.36])
    fmr: float | None = Field(examples=[0.001])
    actor: str | None = Field(examples=["key:gate"])


class RecordedPage(Model):
    """A page of decisions."""

    items: list[Recorded]
    next: str | None = Field(examples=[None])


class MapPoint(Model):
    """A template in the plane."""

    template: Uid
    person: str | None = Field(examples=[UID], description="uid")
    name: str | None = Field(examples=["Ada Vale"])
    x: float = Field(examples=[0.31])
    y: float = Field(examples=[-0.12])
    crop: str = Field(examples=[f"/v1/templates/{UID}/crop"])


class Map(Model):
    """Templates in the plane that spreads them most (PCA), −1…1."""

    points: list[MapPoint]
    total: int = Field(examples=[1200], description="Templates of the gallery; a sample is shown.")
    explained: float = Field(
        examples=[0.18], description="Share of the variance that the plane shows."
    )


class Scores(Model):
    """How similar decisions were, and where the thresholds lie."""

    edges: list[float] = Field(examples=[[-1.0, 0.0, 1.0]])
    yes: list[int] = Field(examples=[[0, 41]])
    no: list[int] = Field(examples=[[3, 1]])
    unsure: list[int] = Field(examples=[[0, 2]])
    thresholds: list[float] = Field(examples=[[0.362]])
    fmr: list[float] = Field(examples=[[0.001]])


class ErrorRate(Model):
    """A share of trials with its 95 % interval; null where the data supports none."""

    value: float | None = Field(examples=[0.0158])
    low: float | None = Field(examples=[0.002])
    high: float | None = Field(examples=[0.0548])
    errors: int = Field(examples=[3])
    trials: int = Field(examples=[131])
    units: int = Field(examples=[131], description="Independent units: people or pairs of them.")
    supported: bool = Field(examples=[True])


class RatePoint(Model):
    """Both errors at the threshold of an asked false-match rate."""

    asked_fmr: float = Field(examples=[0.001])
    threshold: float | None = Field(examples=[0.362])
    fmr: ErrorRate
    fnmr: ErrorRate


class ReportChart(Model):
    """A chart of a report."""

    title: str = Field(examples=["ROC"])
    svg: str = Field(examples=["<svg>…</svg>"], description="Coloured by the page's own style.")
    reading: str = Field(examples=["Higher is better."])


class Evaluation(Model):
    """The error rates of the calibration in force, on the data it was fitted on."""

    source: str = Field(examples=["people"])
    space: str = Field(examples=["sface-128-a31d"])
    created: str = Field(examples=["2026-11-22"])
    people: int = Field(examples=[447])
    photos: int = Field(examples=[672])
    person_pairs: int = Field(examples=[99681])
    mated_people: int = Field(examples=[131], description="People with two photos or more.")
    smallest_fmr: float = Field(examples=[3.1e-05])
    summary: str = Field(examples=["Of 1,000 strangers, 1 passes; …"])
    eer: float | None = Field(examples=[0.0024])
    points: list[RatePoint]
    charts: list[ReportChart]
    report: str | None = Field(
        examples=["/v1/insight/report"], description="URL of the operator's own report."
    )


class Finding(Model):
    """Something in the gallery to look at."""

    model_config = ConfigDict(extra="ignore")
    kind: str = Field(examples=["duplicate"])
    serious: bool = Field(description="Whether answers may be wrong until it is mended.")
    people: list[str] = Field(examples=[["Ada Vale", "Ada V."]])
    uids: list[str] = Field(examples=[[UID, UID]])
    evidence: str = Field(examples=["similarity 0.83, where strangers reach 0.42"])
    mend: str = Field(
        examples=["vultus people merge 9f0c2d4e 8b4c1d8e"],
        description="The command that mends it, or empty.",
    )
    similarity: float | None = Field(examples=[0.83])


class Findings(Model):
    """What the audit of a gallery found."""

    clean: bool
    counts: dict[str, int] = Field(examples=[{"duplicate": 1}])
    skipped: list[str] = Field(examples=[[]])
    findings: list[Finding]


class GalleryState(Model):
    """What a gallery holds."""

    uid: str = Field(examples=[UID])
    space: str | None = Field(examples=["sface-128-a31d"])
    people: int = Field(examples=[400])
    photos: int = Field(examples=[1310])
    templates: int = Field(examples=[1200])
    unnamed: int = Field(examples=[0])
    decisions: int = Field(examples=[310])
    without_templates: int = Field(examples=[0])
    one_template: int = Field(examples=[12])
    expired: int = Field(examples=[0])
