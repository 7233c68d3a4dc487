import pytest

from index.rules import Plan, structure_for


@pytest.mark.parametrize(
    ("count", "kind", "lists"),
    [
        (0, "flat", 0),
        (99_999, "flat", 0),
        (100_000, "ivf-sq8", 256),
        (999_999, "ivf-sq8", 1024),
        (1_000_000, "ivf-pq", 1024),
        (10_000_000, "ivf-pq", 4096),
    ],
)
def test_the_rule(count: int, kind: str, lists: int):
    found = structure_for(count, Plan())
    assert (found.kind, found.lists) == (kind, lists)


def test_a_kind_by_name_overrules_the_rule():
    found = structure_for(300, Plan("ivf-flat"))
    assert (found.kind, found.lists, found.reason) == (
        "ivf-flat",
        16,
        "ivf-flat was asked for by name.",
    )
