import numpy as np
import pytest

from embedder.arrays import expect
from embedder.errors import WrongArray


def test_what_fits_passes():
    expect(np.zeros((5, 2), np.float32), np.float32, (5, 2), "points")
    expect(np.zeros((7, 9, 3), np.uint8), np.uint8, (None, None, 3), "pixels")
    expect(np.zeros(()), np.float64, (), "number")


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((5, 2)),
        np.zeros((2, 5), np.float32),
        np.zeros((5, 2, 1), np.float32),
        np.zeros(10, np.float32),
        [[0.0, 0.0]] * 5,
        None,
    ],
)
def test_what_does_not_fit_is_told(wrong: object):
    with pytest.raises(WrongArray, match=r"^points must be float32 \(5, any\), got .+ \(.*\)\.$"):
        expect(wrong, np.float32, (5, None), "points")


def test_a_wrong_array_is_a_value_error():
    with pytest.raises(ValueError, match="points"):
        expect(np.zeros(3), np.float32, (3,), "points")
