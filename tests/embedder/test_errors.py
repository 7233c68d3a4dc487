import pytest

from embedder import errors
from embedder.errors import EmbedderError, UnusablePhoto

CLASSES = [getattr(errors, name) for name in errors.__all__]


def test_all_is_every_error():
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, EmbedderError)
    }
    assert set(errors.__all__) == defined
    assert errors.__all__ == sorted(errors.__all__)


def test_codes_are_unique():
    assert len({c.code for c in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("error", CLASSES)
def test_each_error_is_in_the_drawn_tree(error: type[EmbedderError]):
    assert error.__name__ in errors.__doc__
    assert error.exit_code in {2, 3, 64}
    if issubclass(error, UnusablePhoto):
        assert error.exit_code == 2
        assert error.reason in {"not_an_image", "face_not_found", "too_large"}
