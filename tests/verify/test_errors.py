import re

import pytest

from verify import errors
from verify.errors import NoCalibration, NoUsableFrame, ProbeRejected, VerifyError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, VerifyError)
]
BRANCH = re.compile(r"^    ([│ ]*)(?:[├└]── )?([A-Z]\w+)")


def drawn() -> dict[str, str]:
    """Name → name of the parent, as the tree at the top of the module draws it."""
    found: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = BRANCH.match(line)
        if match is None:
            continue
        depth = len(match[1]) // 4 + ("── " in line)
        path = [*path[:depth], match[2]]
        found[match[2]] = path[-2] if depth else "Exception"
    return found


def test_the_drawn_tree_is_that_of_the_classes():
    assert drawn() == {kind.__name__: kind.__base__.__name__ for kind in KINDS}


def test_everything_is_exported():
    assert sorted(errors.__all__) == errors.__all__
    assert set(errors.__all__) == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_each_has_a_code_and_an_exit_code_of_the_table(kind: type[VerifyError]):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", kind.code)
    assert kind.exit_code in (2, 3)
    assert kind.__doc__


def test_each_code_is_its_own():
    assert len({kind.code for kind in KINDS}) == len(KINDS)
    assert all("code" in vars(kind) for kind in KINDS)


def test_unusable_input_is_2_and_ours_is_3():
    usable = {kind.__name__ for kind in KINDS if kind.exit_code == 2}
    assert usable == {
        "CaptureError",
        "SourceUnusable",
        "NoUsableFrame",
        "ProbeRejected",
        "NoTemplates",
        "PairsUnusable",
        "PadFolderUnusable",
        "PlotUnusable",
    }


@pytest.mark.parametrize("kind", [NoUsableFrame, ProbeRejected])
def test_refusals_keep_their_reason(kind: type[NoUsableFrame] | type[ProbeRejected]):
    error = kind("Two faces.", "multiple_faces")
    assert (str(error), error.reason) == ("Two faces.", "multiple_faces")


def test_no_calibration_names_the_space_and_the_command():
    message = str(NoCalibration("toy-8-abc"))
    assert "toy-8-abc" in message
    assert "vultus calibrate PEOPLE" in message
