"""Another user of the machine, who may not write the gallery, or not even read it: told so, once.

The tests of the machine run as root, who may do everything: the program is started by root and
becomes `nobody` before it opens the gallery (after a first run, which has imported what it needs:
the interpreter itself may lie where `nobody` cannot look).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Gallery, Vultus

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = 65534
AS_NOBODY = """
import contextlib, io, json, os, sys, vultus

def run(arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            vultus.main(arguments)
        except SystemExit as ended:
            return [ended.code, out.getvalue(), err.getvalue()]

own, others = json.loads(sys.argv[1])
assert [run(arguments)[0] for arguments in own] == [0] * len(own)
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
print(json.dumps([run(arguments) for arguments in others]))
"""
PLACES = {  # mode of the folder, mode of the file
    "read-only": (0o755, 0o644),
    "private": (0o755, 0o600),
    "hidden": (0o700, 0o644),
    "no-files-beside": (0o755, 0o666),
}


WORDS = dict.fromkeys(PLACES, "permission denied") | {"no-files-beside": "readonly database"}


@pytest.fixture
def places(unchanged: Gallery) -> Iterator[dict[str, Path]]:
    """Copies of the gallery that nobody may use, by what is in the way; below no private folder."""
    root = Path(tempfile.mkdtemp(prefix="vultus-other-user-"))
    root.chmod(0o755)
    for name, (folder, file) in PLACES.items():
        place = root / name
        place.mkdir()
        shutil.copy(unchanged.database, place / "gallery.sqlite3")
        (place / "gallery.sqlite3").chmod(file)
        place.chmod(folder)
    yield {name: root / name / "gallery.sqlite3" for name in PLACES}
    shutil.rmtree(root)


def test_a_gallery_of_somebody_else(
    vultus: Vultus, unchanged: Gallery, places: dict[str, Path], tmp_path: Path
):
    name, picture = unchanged.genuine
    own = unchanged.copy_to(tmp_path / "own").database
    commands = [
        ["people", "list"], ["identify", str(picture)], ["verify", name, "--source", str(picture)]
    ]  # fmt: skip
    runs = [
        [[*command, "--database", str(at)] for at in ats for command in commands]
        for ats in ([own], places.values())
    ]
    done = vultus.code(AS_NOBODY, json.dumps(runs), NOBODY)
    assert done.code == 0, done
    told = json.loads(done.out)
    assert len(told) == len(places) * len(commands)
    for number, (code, out, err) in enumerate(told):
        what, place = list(places.items())[number // len(commands)]
        assert (code, out, err.count("\n")) == (3, "", 1), (what, out, err)
        assert f"{place} cannot be used" in err
        assert WORDS[what] in err
