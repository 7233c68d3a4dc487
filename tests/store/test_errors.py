import re

import pytest

from store import errors
from store.errors import AmbiguousPerson, StoreError, UnknownPerson

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, StoreError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_is_in_the_tree_with_a_code(kind: type[StoreError]):
    assert kind.__name__ in errors.__doc__
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", kind.code)
    assert kind.exit_code in (2, 3)


def test_codes_differ():
    assert len({kind.code for kind in KINDS}) == len(KINDS)


def test_close_names_are_offered_whatever_their_case():
    error = UnknownPerson("ada lovelase", ["Ada Lovelace", "Alan Turing", "Grace Hopper"])
    assert error.close == ("Ada Lovelace",)
    assert "did you mean 'Ada Lovelace'?" in str(error)


def test_at_most_three_names_are_offered():
    assert len(UnknownPerson("Ann", ["Anna", "Anne", "Anni", "Anny", "An"]).close) == 3


def test_nobody_is_close():
    assert "`vultus people list` lists everyone" in str(UnknownPerson("Zoe", ["Ada"]))


def test_ambiguity_names_everyone():
    error = AmbiguousPerson("Ada", [("u1", "Ada", ""), ("u2", "Ada", "berlin")])
    assert "u1" in str(error)
    assert "site 'berlin' (u2)" in str(error)
