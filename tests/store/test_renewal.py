import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.renewal import SEED_BYTES, haar, transform_of

KNOWN = [
    [0.9490237128063703, -0.19569536095092885, 0.24709779083087197],
    [0.19725310954127986, 0.9801744622753666, 0.01868781098716462],
    [0.24585606217359685, -0.031005631834907607, -0.9688103258569298],
]


def unit(count: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=SEED_BYTES, max_size=SEED_BYTES), st.integers(1, 40))
def test_cosines_and_lengths_are_kept_and_turning_back_gives_the_vectors(seed: bytes, dim: int):
    transform, vectors = transform_of(seed, dim), unit(6, dim, 1)
    stored = transform.turn(vectors)
    assert (stored.dtype, stored.shape) == (np.float32, vectors.shape)
    np.testing.assert_allclose(stored @ stored.T, vectors @ vectors.T, atol=1e-6)
    np.testing.assert_allclose(transform.back(stored), vectors, atol=3e-7)


def test_the_matrix_is_orthogonal_and_its_determinant_is_either():
    signs = set()
    for number in range(20):
        matrix = transform_of(bytes([number]) * SEED_BYTES, 16).matrix
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(16), atol=1e-13)
        signs.add(round(np.linalg.det(matrix)))
    assert signs == {-1, 1}


def test_the_first_column_is_the_direction_of_the_first_row():
    """As in a QR decomposition whose R has a positive diagonal."""
    gaussian = np.random.default_rng(4).standard_normal((5, 5))
    found = haar(gaussian)[:, 0]
    assert np.allclose(found, gaussian[0] / np.linalg.norm(gaussian[0]), rtol=0, atol=1e-14)


def test_entries_have_the_moments_of_the_haar_measure():
    rng = np.random.default_rng(3)
    drawn = np.array([haar(rng.standard_normal((4, 4))) for _ in range(8000)])
    assert np.allclose(drawn.mean(axis=0), 0.0, rtol=0, atol=0.025)
    assert np.allclose((drawn**2).mean(axis=0), 1 / 4, rtol=0, atol=0.015)
    assert np.allclose((drawn**4).mean(axis=0), 3 / (4 * 6), rtol=0, atol=0.015)


@pytest.mark.parametrize("dim", [1, 8, 128])
def test_a_seed_and_a_dimension_give_one_transform(dim: int):
    first, second = (transform_of(b"s" * SEED_BYTES, dim).matrix for _ in range(2))
    assert np.array_equal(first, second)
    if dim > 1:
        other = transform_of(b"t" * SEED_BYTES, dim).matrix
        assert np.abs(first - other).max() > 0.1
        assert np.abs(first[0, :4] - transform_of(b"s" * SEED_BYTES, dim + 1).matrix[0, :4]).any()


def test_a_known_seed_gives_the_known_matrix():
    """Stored vectors would be lost if another version gave another matrix."""
    found = transform_of(bytes(range(32)), 3).matrix
    assert np.allclose(found, KNOWN, rtol=0, atol=1e-12)


def test_two_galleries_of_the_same_vectors_are_not_alike():
    vectors = unit(400, 128, 5)
    one, other = (transform_of(bytes([n]) * SEED_BYTES, 128).turn(vectors) for n in (1, 2))
    cosines = np.vecdot(one, other)
    assert abs(cosines.mean()) < 0.02
    assert cosines.std() < 0.12
