"""What kind of source a name is: a photo, or something that moves."""

from __future__ import annotations

from pathlib import Path

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})


def is_moving(source: str) -> bool:
    """Whether a source is a camera number, a stream or a video file, rather than a photo."""
    return source.isdecimal() or "://" in source or Path(source).suffix.lower() in VIDEO_SUFFIXES
