import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import kstest

from store.gallery import put_calibration, record_decision
from store.records import Decision
from store.session import Store
from verify.calibration import BINS, Calibration, histogram
from verify.decision import rule_at
from verify.drift import LEAST, audit_scores, camera_of, comparisons_of, judge, share_of
from verify.opening import Parts, Places


@pytest.fixture(scope="module")
def bells(curve: Callable[..., Calibration]) -> Calibration:
    """Strangers around 0.1, photos of one person around 0.6, both of deviation 0.1."""
    rng = np.random.default_rng(0)
    counts = []
    for mean, number in ((0.1, 200_000), (0.6, 2000)):
        drawn = rng.normal(mean, 0.1, number).clip(-0.99, 0.99).astype(np.float32)
        bars = histogram(drawn, np.ones(number))
        counts.append({int(i): float(bars[i]) for i in np.flatnonzero(bars)})
    return curve(*counts)


def decided(
    calibration: Calibration, similarity: float, fmr: float = 1e-3, comparisons: int = 1
) -> Decision:
    rule = rule_at(calibration, fmr, comparisons)
    return Decision(
        kind="verify", answer=rule.answer(similarity), similarity=similarity, fmr=fmr,
        threshold=rule.threshold, unsure_above=rule.unsure_above, space="toy", source="gate/1.jpg",
    )  # fmt: skip


@pytest.mark.parametrize(("fmr", "comparisons"), [(1e-3, 1), (1e-2, 1), (0.05, 40), (0.01, 10)])
@pytest.mark.parametrize("genuine", [True, False])
def test_without_drift_shares_are_uniform(
    bells: Calibration, fmr: float, comparisons: int, genuine: bool
):
    rng = np.random.default_rng(1)
    if genuine:
        drawn = rng.normal(0.6, 0.1, 600)
    else:
        drawn = rng.normal(0.1, 0.1, (600, comparisons)).max(axis=1)
    rows = [decided(bells, float(s), fmr, comparisons) for s in drawn]
    wanted = "yes" if genuine else "no"
    shares = [share_of(row, bells) for row in rows if row.answer == wanted]
    assert len(shares) > 250
    assert kstest(shares, "uniform").pvalue > 1e-3


def test_the_number_of_comparisons_is_read_from_the_threshold(bells: Calibration):
    for count in (1, 3, 20, 100):
        threshold = bells.threshold(0.05, count)
        assert comparisons_of(threshold, 0.05, bells) == pytest.approx(count, rel=0.15)


def test_the_distance_is_that_of_scipy():
    shares = np.random.default_rng(2).beta(2, 1, 300)
    found = judge("gate", "genuine", shares, size=10**9)
    oracle = kstest(shares, "uniform", method="asymp")
    assert found.distance == pytest.approx(oracle.statistic)
    assert found.chance == pytest.approx(oracle.pvalue, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "power", "verdict"),
    [
        ("genuine", 1.0, "as promised"),
        ("genuine", 0.3, "shifted"),  # more similar than promised
        ("genuine", 3.0, "as promised"),
        ("strangers", 0.3, "DRIFTED"),
        ("strangers", 3.0, "shifted"),
    ],
)
def test_which_way_is_harmful(kind: str, power: float, verdict: str):
    shares = np.random.default_rng(3).random(400) ** power
    found = judge("gate", kind, shares, size=500)
    expected = "DRIFTED" if (kind, power) == ("genuine", 3.0) else verdict
    assert found.verdict == expected
    assert (found.effect > 0) == (power < 1) or power == 1.0


def test_a_small_calibration_proves_less():
    shares = np.random.default_rng(4).beta(1.3, 1, 300)
    assert judge("a", "genuine", shares, 10).chance > judge("a", "genuine", shares, 10_000).chance


@pytest.mark.parametrize(
    ("source", "camera"),
    [
        ("0", "0"),
        ("rtsp://gate/1", "rtsp://gate/1"),
        ("hall/2026/a.jpg", "hall/2026"),
        ("a.jpg", "."),
        ("x/a.jpg ~ y/b.jpg", "x"),
        ("clip.mp4", "clip.mp4"),
        ("", "(forgotten)"),
    ],
)
def test_what_a_probe_was_taken_with(source: str, camera: str):
    assert camera_of(source) == camera


def put(store: Store, calibration: Calibration, source: str, drawn: np.ndarray) -> None:
    with store.begin() as session:
        row = put_calibration(session, "toy", json.dumps(calibration.to_dict()), "d")
        for similarity in drawn:
            decision = decided(calibration, float(similarity))
            record_decision(
                session, kind="verify", answer=decision.answer, space="toy", source=source,
                similarity=float(similarity), threshold=decision.threshold, fmr=decision.fmr,
                unsure_above=decision.unsure_above, calibration_id=row.id,
            )  # fmt: skip


def test_the_camera_that_changed_is_named(bells: Calibration, store: Store):
    rng = np.random.default_rng(5)
    put(store, bells, "rtsp://good", rng.normal(0.6, 0.1, 150))
    put(store, bells, "rtsp://dark", rng.normal(0.52, 0.06, 150))
    put(store, bells, "rtsp://crowd", rng.normal(0.15, 0.08, 150))
    put(store, bells, "rtsp://new", rng.normal(0.6, 0.1, LEAST // 2))
    with Parts(Places(database=str(store.path))) as parts:
        audit = audit_scores(parts, 30)
    verdicts = {(d.camera, d.kind): d.verdict for d in audit.drifts}
    assert verdicts["rtsp://good", "genuine"] == "as promised"
    assert verdicts["rtsp://dark", "genuine"] == "DRIFTED"
    assert verdicts["rtsp://crowd", "strangers"] == "DRIFTED"
    assert {d.camera for d in audit.warnings} == {"rtsp://dark", "rtsp://crowd"}
    assert ("rtsp://new", "genuine") in {(camera, kind) for camera, kind, _ in audit.few}
    assert len(audit.remarks()) == 3
    told = json.loads(json.dumps(audit.to_dict()))
    assert told["drifted"] is True
    assert len(told["drifts"]) == len(audit.drifts)


def test_old_decisions_do_not_count(bells: Calibration, store: Store):
    put(store, bells, "0", np.full(30, 0.5))
    with store.begin() as session:
        session.query(Decision).update({"time": datetime.now(UTC) - timedelta(days=40)})
    with Parts(Places(database=str(store.path))) as parts:
        none = audit_scores(parts, 30)
        assert none.drifts == ()
        assert none.remarks()[0].startswith("There are no decisions")
        assert len(audit_scores(parts, 50).drifts) == 1


def test_what_tells_nothing_is_left_out(bells: Calibration, curve: Callable[..., Calibration]):
    row = decided(bells, 0.7)
    assert share_of(row, bells) is not None
    for name in ("similarity", "threshold", "fmr"):
        bare = decided(bells, 0.7)
        setattr(bare, name, None)
        assert share_of(bare, bells) is None
    assert share_of(row, curve({BINS // 2: 100})) is None  # no mated people
