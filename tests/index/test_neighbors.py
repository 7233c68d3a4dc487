import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import NotUnit, WrongDtype, WrongShape
from index.neighbors import NO_ID, Neighbors

IDS = np.array([[4, 2, NO_ID], [NO_ID, NO_ID, NO_ID]])
SIMILARITIES = np.array([[0.5, 0.25, -np.inf], [-np.inf] * 3], dtype=np.float32)


def test_each_query_has_its_hits_without_padding():
    found = Neighbors(IDS, SIMILARITIES)
    assert len(found) == 2
    assert list(found[0]) == [(4, 0.5), (2, 0.25)]
    assert found[0][1] == (2, 0.25)
    assert [len(hits) for hits in found] == [2, 0]


@pytest.mark.parametrize(
    ("ids", "similarities", "error"),
    [
        (IDS[0], SIMILARITIES[0], WrongShape),
        (IDS[:, :2], SIMILARITIES, WrongShape),
        (IDS.astype(np.int32), SIMILARITIES, WrongDtype),
        (IDS, SIMILARITIES.astype(np.float64), WrongDtype),
        (IDS, SIMILARITIES[:, ::-1], NotUnit),
        (IDS, np.where(IDS == 2, np.float32(np.nan), SIMILARITIES), NotUnit),
        (np.abs(IDS), SIMILARITIES, NotUnit),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    ids: NDArray[np.int64], similarities: NDArray[np.float32], error: type[Exception]
):
    with pytest.raises(error):
        Neighbors(ids, similarities)
