"""Something opened in a thread before it is wanted."""

import threading

import pytest

from verify.early import Early


def test_it_is_opened_at_once_and_in_a_thread():
    threads: list[str] = []
    begun = threading.Event()

    def opened(name: str) -> str:
        threads.append(threading.current_thread().name)
        begun.set()
        return name.upper()

    early = Early("sface", opened)
    assert begun.wait(10)
    assert (early.name, early.result(), early.result()) == ("sface", "SFACE", "SFACE")
    assert threads == ["vultus-early"]


def test_what_goes_wrong_is_told_to_whoever_asks_and_to_nobody_else():
    def opened(name: str) -> str:
        raise KeyError(name)

    early = Early("unwanted", opened)
    early.wait()
    with pytest.raises(KeyError, match="unwanted"):
        early.result()
