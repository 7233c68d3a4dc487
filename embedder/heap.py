"""What the C library does with memory that is freed, where a loop asks for the same again."""

from __future__ import annotations

import ctypes

# From malloc.h of the GNU C library.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER, _AHEAD = 2**31 - 1, 2**28


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, to use it again; for the rest of its life.

    The GNU C library gives each large block back to the kernel when it is freed, and each new one
    comes as empty pages again, one fault for every 4 KiB. A step of training frees and takes
    gigabytes: a fifth of its time on a processor. A process that keeps its memory is as large as
    it was at its largest, so that this is for commands that train, not for servers.

    Returns:
        Whether it could be arranged; False where the C library is another.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    wishes = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _AHEAD), (_ARENA_MAX, 1))
    return all(mallopt(name, value) for name, value in wishes)
