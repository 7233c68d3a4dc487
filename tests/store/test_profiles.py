import pytest

from store.errors import InvalidName
from store.profiles import list_profiles, put_profile, remove_profile
from store.session import Store


def test_they_are_kept_by_name(store: Store):
    with store.begin() as session:
        put_profile(session, "pool", fmr=0.01, fpir=0.05, unsure=2)
        put_profile(session, "lab", fmr=1e-4, fpir=0.001, unsure=10)
        put_profile(session, " pool ", fmr=0.02, fpir=0.1, unsure=1)
    with store.read() as session:
        found = [(p.name, p.fmr, p.fpir, p.unsure) for p in list_profiles(session)]
    assert found == [("lab", 1e-4, 0.001, 10.0), ("pool", 0.02, 0.1, 1.0)]


def test_they_are_removed(store: Store):
    with store.begin() as session:
        put_profile(session, "pool", fmr=0.01, fpir=0.05, unsure=2)
        assert remove_profile(session, "pool")
        assert not remove_profile(session, "pool")
        assert list_profiles(session) == []


@pytest.mark.parametrize(
    "change", [{"fmr": 0.0}, {"fmr": 1.0}, {"fpir": -0.1}, {"unsure": 0.5}, {"unsure": 1e999}]
)
def test_what_is_no_profile(store: Store, change: dict[str, float]):
    with store.begin() as session, pytest.raises(ValueError, match="two rates and a factor"):
        put_profile(session, "pool", **({"fmr": 0.01, "fpir": 0.05, "unsure": 2.0} | change))


def test_a_name_is_needed(store: Store):
    with store.begin() as session, pytest.raises(InvalidName):
        put_profile(session, " ", fmr=0.01, fpir=0.05, unsure=2)
