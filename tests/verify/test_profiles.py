import pytest

from store.errors import UnknownProfile
from store.profiles import put_profile
from store.session import Store
from verify.calibration import shipped
from verify.decision import rule_at
from verify.errors import UnsupportedRate
from verify.profiles import BUILT_IN, Rates, drop_profile, find_profile, profiles, rates_of


def test_three_are_built_in(store: Store):
    with store.read() as session:
        assert [p.name for p in profiles(session)] == ["gate", "hall", "border"]
        assert find_profile(session, "border").fmr < find_profile(session, "gate").fmr
        assert find_profile(session, "gate").fmr < find_profile(session, "hall").fmr


@pytest.mark.parametrize("profile", BUILT_IN, ids=lambda profile: profile.name)
def test_the_shipped_calibrations_support_them(profile):
    for calibration in shipped().values():
        rule = rule_at(calibration, profile.fmr, unsure=profile.second(profile.fmr))
        assert rule.unsure_above <= rule.threshold
        rule_at(calibration, profile.fpir, 50, unsure=profile.second(profile.fpir))


def test_ones_own_comes_before_the_built_in(store: Store):
    with store.begin() as session:
        put_profile(session, "gate", fmr=0.02, fpir=0.1, unsure=3)
        put_profile(session, "pool", fmr=0.3, fpir=0.2, unsure=10)
        assert [p.name for p in profiles(session)] == ["gate", "pool", "hall", "border"]
        assert find_profile(session, "gate").fmr == 0.02
        assert not find_profile(session, "gate").built_in
        drop_profile(session, "gate")
        assert find_profile(session, "gate").built_in
        with pytest.raises(UnknownProfile, match="there are pool"):
            drop_profile(session, "gate")


def test_an_unknown_one_names_those_there_are(store: Store):
    with store.read() as session, pytest.raises(UnknownProfile, match="gate, hall, border"):
        find_profile(session, "harbour")


@pytest.mark.parametrize(
    ("kind", "first", "second", "rates"),
    [
        ("fmr", None, None, Rates(1e-3, 1e-2)),
        ("fpir", None, None, Rates(0.01, 0.1)),
        ("fmr", 0.02, None, Rates(0.02, 0.2)),
        ("fmr", None, 0.3, Rates(1e-3, 0.3)),
        ("fmr", 0.1, 0.4, Rates(0.1, 0.4)),
        ("fpir", 0.2, None, Rates(0.2, 0.5)),
        ("fpir", 0.7, None, Rates(0.7, 0.7)),
    ],
)
def test_what_is_given_wins(store: Store, kind: str, first: float, second: float, rates: Rates):
    with store.read() as session:
        found = rates_of(session, "gate", kind, first, second)
        assert (found.first, found.second) == pytest.approx((rates.first, rates.second))


def test_without_a_profile_nothing_is_added(store: Store):
    with store.read() as session:
        assert rates_of(session, None, "fmr", None, 0.1) == Rates(None, 0.1)


def test_the_second_rate_is_asked_for(stairs):
    rule = rule_at(stairs, 0.01, unsure=0.5)
    assert (rule.threshold, rule.unsure_above, rule.unsure_rate) == (0.75, 0.5, 0.5)
    same = rule_at(stairs, 0.01, unsure=0.01)
    assert same.threshold == same.unsure_above
    with pytest.raises(UnsupportedRate, match="below the first"):
        rule_at(stairs, 0.01, unsure=0.001)
