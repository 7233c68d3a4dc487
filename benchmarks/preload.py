"""A library put before libc: writes that come up short or are interrupted, a clock that is wrong.

Used by bad_inputs.py and power_cut.py. `library` compiles it (needs cc); `variables` are the
environment of a process that is to run under it. Only files below `root` are disturbed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static atomic_long writes, looks;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

/* 0: as it is; 1: short; 2: interrupted. Every one of them meets something. */
static int disturbed(int fd, size_t size) {
    const char *root = getenv("PRELOAD_ROOT");
    char link[64], path[4096];
    if (!root || size < 2) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, root, strlen(root))) return 0;
    long at = atomic_fetch_add(&writes, 1) + number("PRELOAD_SEED");
    return (int)(at % 3);
}

#define DISTURB(call)                                    \
    int what = disturbed(fd, size);                      \
    if (what == 2) { errno = EINTR; return -1; }         \
    if (what == 1) size = 1 + size * 7 / 11;             \
    return call

ssize_t write(int fd, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    DISTURB(real(fd, data, size));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    DISTURB(real(fd, data, size, at));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return pwrite64(fd, data, size, at);
}

/* Each look at the clock is `STEP` seconds after the one before, beginning `SHIFT` from now. */
int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME)
        time->tv_sec += number("PRELOAD_SHIFT") +
            number("PRELOAD_STEP") * atomic_fetch_add(&looks, 1);
    return result;
}

int gettimeofday(struct timeval *time, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


def library(folder: Path) -> Path | None:
    """The compiled library in a folder; None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source, made = folder / "preload.c", folder / "preload.so"
    source.write_text(SOURCE)
    words = [compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(source), "-ldl"]
    subprocess.run(words, check=True)  # noqa: S603 - the compiler of this machine
    return made


def variables(
    made: Path, *, root: Path | None = None, seed: int = 0, shift: int = 0, step: int = 0
) -> dict[str, str]:
    """The environment of a process under the library.

    Args:
        made: the library.
        root: writes to files below it are disturbed: of three in a row one is whole, one short,
            one interrupted.
        seed: which of them comes first.
        shift: seconds that the clock is ahead.
        step: seconds that it goes on (or back) with every look.
    """
    given = {"LD_PRELOAD": str(made), "PRELOAD_SHIFT": str(shift), "PRELOAD_STEP": str(step)}
    if root is not None:
        given |= {"PRELOAD_ROOT": os.path.realpath(root), "PRELOAD_SEED": str(seed)}
    return given
