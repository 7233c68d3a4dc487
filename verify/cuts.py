"""Where a clustering parts people: the cut that follows from a calibration.

The rate was chosen on other people than it is measured on; see docs/clustering.md.
"""

from __future__ import annotations

from verify.calibration import Calibration
from verify.errors import UnsupportedRate

CUT_RATE = 5e-5
_STRANGERS_RATE = 0.5


def cuts_of(calibration: Calibration) -> tuple[float, float]:
    """The cut of the default method, and the similarity of the median pair of strangers.

    Raises:
        UnsupportedRate: the calibration shows too few people; never for more than six.
    """
    rate = max(CUT_RATE, calibration.smallest_fmr * (1 + 1e-9))
    if rate >= _STRANGERS_RATE:
        raise UnsupportedRate(
            f"The calibration on {calibration.source} shows too few people "
            f"({calibration.people}) to cluster by: calibrate on more people with vultus "
            "calibrate PEOPLE, or give the number of clusters."
        )
    return calibration.threshold(rate), calibration.threshold(_STRANGERS_RATE)
