"""Everything that can keep Vultus from writing.

    EnrollError
    ├── NothingToEnroll      the folder shows no photo
    ├── FolderUnusable       it does not exist or may not be read
    ├── OutputUnusable       the folder for results cannot be written
    ├── DemoFailed           the demo's answers are not the expected ones
    └── PicturesMissing      the demo's pictures are not installed

`exit_code` is what a command returns for the error; see docs/commands.md.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "DemoFailed",
    "EnrollError",
    "FolderUnusable",
    "NothingToEnroll",
    "OutputUnusable",
    "PicturesMissing",
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


class OutputUnusable(EnrollError):
    """A folder for results that cannot be written."""

    code = "output_unusable"


class DemoFailed(EnrollError):
    """The demo went another way than it must."""

    code = "demo_failed"


class PicturesMissing(EnrollError):
    """The pictures of the demo are not installed."""

    code = "pictures_missing"
