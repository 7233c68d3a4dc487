"""Everything that can keep Vultus from writing.

    EnrollError
    ├── NothingToEnroll      the folder shows no photo
    ├── FolderUnusable       it does not exist or may not be read
    ├── LimitUnusable        a limit of memory that cannot be kept
    ├── ConsentsUnusable     a list of consents that cannot be read
    ├── OutputUnusable       the folder for results cannot be written
    ├── ArchiveExists        the file of an export is there already
    ├── ArchiveUnusable      a file that is no archive of a gallery, or a damaged one
    ├── ReceiptUnusable      a file that is no receipt of an erasure
    ├── DemoFailed           the demo's answers are not the expected ones
    ├── FacesUnreadable      stored crops that no encoder can look at
    ├── CropsUnfit           stored crops that were cut for another kind of encoder
    ├── NothingToMeasure     the gallery names nobody yet
    ├── UnknownSuggestion    no open suggestion of that id
    ├── StorageUnusable      object storage that cannot be reached or listed
    ├── ExtraMissing         a library of an extra is not installed
    ├── ClusterUnreachable   no Ray cluster answers there
    ├── ClusterUnfit         its machines cannot do this work as they are set up
    ├── ClusterFailed        the work was begun and broke off
    └── PicturesMissing      the demo's pictures are not installed

`exit_code` is what a command returns for the error; see docs/commands.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

__all__ = [
    "ArchiveExists",
    "ArchiveUnusable",
    "ClusterFailed",
    "ClusterUnfit",
    "ClusterUnreachable",
    "ConsentsUnusable",
    "CropsUnfit",
    "DemoFailed",
    "EnrollError",
    "ExtraMissing",
    "FacesUnreadable",
    "FolderUnusable",
    "LimitUnusable",
    "NothingToEnroll",
    "NothingToMeasure",
    "OutputUnusable",
    "PicturesMissing",
    "ReceiptUnusable",
    "StorageUnusable",
    "UnknownSuggestion",
]


class EnrollError(Exception):
    """Base of the package."""

    code: ClassVar[str] = "enroll_error"
    exit_code: ClassVar[int] = 3


class FolderUnusable(EnrollError):
    """A folder of photos that is not there or may not be read."""

    code = "folder_unusable"
    exit_code = 2


class NothingToEnroll(EnrollError):
    """A folder without photos."""

    code = "nothing_to_enroll"
    exit_code = 2


class NothingToMeasure(EnrollError):
    """A gallery without templates, whose engines cannot be measured."""

    code = "nothing_to_measure"
    exit_code = 2


class UnknownSuggestion(EnrollError):
    """No open suggestion of that id."""

    code = "unknown_suggestion"
    exit_code = 2

    def __init__(self, key: str) -> None:
        super().__init__(
            f"No suggestion {key!r} is open; `vultus cluster --suggest` lists those there are."
        )


class LimitUnusable(EnrollError):
    """A limit of memory below what the work takes, or for work done elsewhere."""

    code = "limit_unusable"
    exit_code = 64


class ConsentsUnusable(EnrollError):
    """A list of consents that is not there, cannot be read, or has a line that makes no sense."""

    code = "consents_unusable"
    exit_code = 2

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            f"{where} cannot be used: {why}. Give a CSV file with the columns "
            "name,basis,date,reference. Nothing was changed."
        )


class OutputUnusable(EnrollError):
    """A folder for results that cannot be written."""

    code = "output_unusable"


class ArchiveExists(EnrollError):
    """The file of an export is there already."""

    code = "archive_exists"
    exit_code = 2


class ArchiveUnusable(EnrollError):
    """A file that is no archive of a gallery, or a damaged one; nothing was changed."""

    code = "archive_unusable"
    exit_code = 2

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} cannot be imported: {why}. Nothing was changed.")


class ReceiptUnusable(EnrollError):
    """A file that cannot be read or is no receipt."""

    code = "receipt_unusable"
    exit_code = 2


class CropsUnfit(EnrollError):
    """The gallery's crops were cut for another kind of encoder."""

    code = "crops_unfit"
    exit_code = 2

    def __init__(self, model: str, wanted: str, kept: str) -> None:
        super().__init__(
            f"{model} looks at crops of the kind {wanted}, and this gallery keeps {kept}: enrol "
            "the photos with it in another gallery (--database)."
        )


class FacesUnreadable(EnrollError):
    """Stored crops do not open, so that their faces cannot be encoded; nothing was cut over."""

    code = "faces_unreadable"

    def __init__(self, templates: Sequence[int]) -> None:
        self.templates = tuple(templates)
        shown = ", ".join(str(template) for template in templates[:3])
        super().__init__(
            f"The stored crops of {len(templates)} faces do not open (templates {shown}): restore "
            "them from a backup, or go on without these faces with --leave-out."
        )


class DemoFailed(EnrollError):
    """The demo went another way than it must."""

    code = "demo_failed"


class PicturesMissing(EnrollError):
    """The pictures of the demo are not installed."""

    code = "pictures_missing"


class StorageUnusable(EnrollError):
    """Object storage that cannot be reached or listed, or that holds nothing there."""

    code = "storage_unusable"
    exit_code = 2


class ExtraMissing(EnrollError):
    """A library is not installed: the message names the extra that brings it."""

    code = "extra_missing"

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} the extra {extra}: pip install "vultus[{extra}]".')


class ClusterUnreachable(EnrollError):
    """No Ray cluster answers at the address."""

    code = "cluster_unreachable"


class ClusterUnfit(EnrollError):
    """Machines of the cluster that cannot do this work: another version, no weights, no photos."""

    code = "cluster_unfit"


class ClusterFailed(EnrollError):
    """The cluster broke off; what was committed is kept, and running it again goes on."""

    code = "cluster_failed"
