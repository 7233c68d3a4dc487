import inspect

from index import errors


def test_every_error_is_public_has_its_own_code_and_exits_with_3():
    classes = [
        c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == "index.errors"
    ]
    assert sorted(c.__name__ for c in classes) == errors.__all__
    assert all(issubclass(c, errors.VectorIndexError) and c.exit_code == 3 for c in classes)
    assert len({c.code for c in classes}) == len(classes)
    assert all(c.__name__ in (errors.__doc__ or "") for c in classes)
