"""Everything that can keep Vultus from deciding.

    VerifyError
    ├── CalibrationError
    │   ├── NoCalibration       nothing says what a similarity means in this space
    │   ├── UnsupportedRate     the data behind the calibration is too small for the asked rate
    │   ├── CalibrationBroken   a calibration file that is not one
    │   └── CannotCombine       calibrations whose counts cannot be added
    ├── CaptureError
    │   ├── SourceUnusable      the video, camera or stream cannot be opened
    │   └── NoUsableFrame       time or frames ran out without a face good enough
    ├── ProbeRejected           the probe's picture was refused; `reason` says why
    ├── NoTemplates             the person has nothing to compare with
    ├── PairsUnusable           a list of pairs or of people that cannot be evaluated
    ├── UnknownPadGate          no gate against presentation attacks of that name
    ├── PadFolderUnusable       no folder or list of presentations that can be evaluated
    ├── PlotUnusable            nothing there that could be drawn
    ├── PlotToolMissing         a library that draws or projects is not installed
    └── NothingToMeasure        scores that hold no mated or no non-mated pair

`exit_code` is what a command returns for the error; see docs/commands.md.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CalibrationBroken",
    "CalibrationError",
    "CannotCombine",
    "CaptureError",
    "NoCalibration",
    "NoTemplates",
    "NoUsableFrame",
    "NothingToMeasure",
    "PadFolderUnusable",
    "PairsUnusable",
    "PlotToolMissing",
    "PlotUnusable",
    "ProbeRejected",
    "SourceUnusable",
    "UnknownPadGate",
    "UnsupportedRate",
    "VerifyError",
]


class VerifyError(Exception):
    """Base of the package."""

    code: ClassVar[str] = "verify_error"
    exit_code: ClassVar[int] = 3


class CalibrationError(VerifyError):
    """No threshold can be given."""

    code = "calibration_error"


class NoCalibration(CalibrationError):
    """No calibration for a space."""

    code = "no_calibration"

    def __init__(self, space: str) -> None:
        super().__init__(
            f"There is no calibration for the space {space}, so a similarity says nothing about "
            "error rates: make one from a folder of people, or of things, with: vultus calibrate "
            "PEOPLE."
        )


class UnsupportedRate(CalibrationError):
    """A rate below what the counts behind a calibration can show."""

    code = "unsupported_rate"


class CalibrationBroken(CalibrationError):
    """A text that is not a calibration."""

    code = "calibration_broken"


class CannotCombine(CalibrationError):
    """Calibrations that cannot be made one."""

    code = "cannot_combine"


class CaptureError(VerifyError):
    """No probe could be taken from a video or camera."""

    code = "capture_error"
    exit_code = 2


class SourceUnusable(CaptureError):
    """The source cannot be opened."""

    code = "source_unusable"


class NoUsableFrame(CaptureError):
    """No frame showed a face good enough; `reason` is the one seen most often."""

    code = "no_usable_frame"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ProbeRejected(VerifyError):
    """A probe's picture that is not good enough to decide on; `reason` is a report code."""

    code = "probe_rejected"
    exit_code = 2

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class NoTemplates(VerifyError):
    """A person without templates."""

    code = "no_templates"
    exit_code = 2


class PairsUnusable(VerifyError):
    """A pair file, or a table of people, that does not fit the folder."""

    code = "pairs_unusable"
    exit_code = 2


class NothingToMeasure(VerifyError):
    """Scores without mated or without non-mated comparisons."""

    code = "nothing_to_measure"


class UnknownPadGate(VerifyError):
    """A gate against presentation attacks that is not there or cannot be opened."""

    code = "unknown_pad_gate"


class PadFolderUnusable(VerifyError):
    """A folder or list without bona fide and attack presentations."""

    code = "pad_folder_unusable"
    exit_code = 2


class PlotUnusable(VerifyError):
    """Vectors or pictures that cannot be drawn."""

    code = "plot_unusable"
    exit_code = 2


class PlotToolMissing(VerifyError):
    """What draws or projects is not installed."""

    code = "plot_tool_missing"
