import pytest

from store.calibrations import (
    decisions_by_calibration,
    find_calibration,
    list_calibrations,
    use_calibration,
    use_none,
)
from store.errors import UnknownCalibration
from store.gallery import active_calibration, put_calibration, record_decision
from store.session import Store


def test_one_of_several_is_in_force(store: Store):
    with store.begin() as session:
        rows = [put_calibration(session, "a", f'{{"n": {n}}}', f"d{n}").id for n in range(3)]
        other = put_calibration(session, "b", "{}", "e").id
    with store.begin() as session:
        use_calibration(session, rows[0])
    with store.read() as session:
        assert active_calibration(session, "a").id == rows[0]
        assert active_calibration(session, "b").id == other
        assert [row.id for row in list_calibrations(session)] == [*rows, other]
        assert [row.active for row in list_calibrations(session, "a")] == [True, False, False]


def test_none_in_force(store: Store):
    with store.begin() as session:
        put_calibration(session, "a", "{}", "d")
        kept = put_calibration(session, "b", "{}", "d").id
        use_none(session, "a")
    with store.read() as session:
        assert active_calibration(session, "a") is None
        assert active_calibration(session, "b").id == kept


def test_kept_without_being_in_force(store: Store):
    with store.begin() as session:
        first = put_calibration(session, "a", "{}", "d").id
        put_calibration(session, "a", "{}", "d", active=False)
    with store.read() as session:
        assert active_calibration(session, "a").id == first


def test_decisions_keep_the_one_they_used(store: Store):
    with store.begin() as session:
        first = put_calibration(session, "a", "{}", "d").id
        for number in (first, first, None):
            record_decision(
                session, kind="compare", answer="no", space="a", source="x", calibration_id=number
            )
        put_calibration(session, "a", "{}", "d")
    with store.read() as session:
        assert decisions_by_calibration(session) == {first: 2}


def test_an_unknown_number(store: Store):
    for function in (find_calibration, use_calibration):
        with store.begin() as session, pytest.raises(UnknownCalibration, match="no calibration 7"):
            function(session, 7)
