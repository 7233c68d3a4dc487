"""What can go wrong with an index.

VectorIndexError
├── WrongArray              an array that cannot be used
│   ├── WrongShape          its number of axes or its lengths
│   ├── WrongDtype          what its numbers are
│   └── NotUnit             its rows are not finite or not of length 1
├── WrongNumber             a count or a cut outside its range
├── Contradiction           rows that must share a cluster and must not
├── UnknownId               an id that the index does not hold
├── EngineMissing           the engine's library is not installed
│   └── GpuMissing          it is, but cannot use a GPU here
├── UnknownEngine           a URL that names no engine
├── IndexFileBroken         a file that was cut, changed or written by something else
├── IndexFileMismatch       a sound file of vectors of another length
├── IndexServerUnreachable  a server that does not answer
├── IndexServerRefused      a server that answers with an error
└── IndexServerMismatch     a collection of another gallery, space or length
"""

from typing import ClassVar

__all__ = [
    "Contradiction",
    "EngineMissing",
    "GpuMissing",
    "IndexFileBroken",
    "IndexFileMismatch",
    "IndexServerMismatch",
    "IndexServerRefused",
    "IndexServerUnreachable",
    "NotUnit",
    "UnknownEngine",
    "UnknownId",
    "VectorIndexError",
    "WrongArray",
    "WrongDtype",
    "WrongNumber",
    "WrongShape",
]


class VectorIndexError(Exception):
    """Base of every error of this package; the message says what to do next."""

    exit_code: ClassVar[int] = 3
    code: ClassVar[str] = "index_error"


class WrongArray(VectorIndexError):
    """An array that cannot be used: pass one of the shape, dtype and range that is named."""

    code = "wrong_array"


class WrongShape(WrongArray):
    """An array of another shape: pass one of the shape that is named."""

    code = "wrong_shape"


class WrongDtype(WrongArray):
    """An array of another dtype: convert it to the one that is named."""

    code = "wrong_dtype"


class NotUnit(WrongArray):
    """Rows that are not finite or not of length 1: normalise them first."""

    code = "not_unit"


class WrongNumber(VectorIndexError):
    """A count or a cut outside its range: choose one inside the range that is named."""

    code = "wrong_number"


class Contradiction(VectorIndexError):
    """Rows that must share a cluster and must not: take back one of the two statements."""

    code = "contradiction"


class UnknownId(VectorIndexError):
    """An id that the index does not hold: add it, or bring the index up to date."""

    code = "unknown_id"


class EngineMissing(VectorIndexError):
    """The library of an engine is not installed: install the extra that is named."""

    code = "engine_missing"


class GpuMissing(EngineMissing):
    """A GPU was asked for and none can be used: install what is named, or use the CPU."""

    code = "gpu_missing"


class UnknownEngine(VectorIndexError):
    """A URL that names no engine: use one of those that are listed."""

    code = "unknown_engine"


class IndexFileBroken(VectorIndexError):
    """A file that was cut, changed or written by something else: delete it, it will be rebuilt."""

    code = "index_file_broken"


class IndexFileMismatch(VectorIndexError):
    """A sound file of vectors of another length: use another path, or delete it."""

    code = "index_file_mismatch"


class IndexServerUnreachable(VectorIndexError):
    """A server that does not answer in time: check that it runs and that its address is right."""

    code = "index_server_unreachable"


class IndexServerRefused(VectorIndexError):
    """A server that answers with an error: the message repeats it."""

    code = "index_server_refused"


class IndexServerMismatch(VectorIndexError):
    """A collection of another gallery, space or length: name another collection."""

    code = "index_server_mismatch"
