"""The options of every command that takes consent: basis, date and reference, as one argument."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

T = TypeVar("T")
_OPTIONS = (
    click.option(
        "--consent-basis", metavar="TEXT", help="Why the data may be kept, such as consent."
    ),
    click.option(
        "--consent-date", type=click.DateTime(["%Y-%m-%d"]), help="The day since when (UTC)."
    ),
    click.option(
        "--consent-reference", metavar="TEXT", help="Where that is written down, such as a form."
    ),
)


def consent_options(command: Callable[..., T]) -> Callable[..., T]:
    """Basis, date and reference of consent, as one argument `consent`."""

    @functools.wraps(command)
    def collected(*args: object, **values: Any) -> T:  # noqa: ANN401 - click passes what it parsed
        from store.consent import Consent

        basis, reference = values.pop("consent_basis"), values.pop("consent_reference")
        date: datetime | None = values.pop("consent_date")
        day = None if date is None else date.replace(tzinfo=UTC)
        return command(*args, consent=Consent(basis or None, day, reference or None), **values)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected
