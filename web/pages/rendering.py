"""Templates and what every page carries: words, who is signed in, where they may go."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from web.auth import Principal
from web.text import TEXT

# Where the page leads: path, key of its word, scope that it needs.
PLACES = (
    ("/gate", "nav.gate", "verify"),
    ("/people", "nav.people", "verify"),
    ("/identify", "nav.identify", "identify"),
    ("/library", "nav.library", "enrol"),
    ("/insight", "nav.insight", "admin"),
)


@cache
def templates() -> Environment:
    """The templates, compiled once; a name that is not given is an error."""
    made = Environment(
        loader=PackageLoader("web", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.globals["t"] = TEXT.__getitem__
    return made


def places_of(who: Principal | None) -> list[tuple[str, str]]:
    """The paths somebody may go to, with their words."""
    if who is None:
        return []
    return [(path, TEXT[word]) for path, word, scope in PLACES if may_open(who, path, scope)]


def may_open(who: Principal, path: str, scope: str) -> bool:
    """Whether a place is of use to somebody: a library belongs to no site."""
    return who.may(scope) and not (path == "/library" and who.sites is not None)


def page(
    name: str, who: Principal | None, path: str, *, status: int = 200, kiosk: bool = False,
    **values: Any,  # noqa: ANN401 - what the template shows and its script is told
) -> HTMLResponse:  # fmt: skip
    """A page.

    Args:
        name: of the template, without its ending.
        who: is signed in; None: nobody.
        path: which place it is.
        status: of the answer.
        kiosk: nothing but this page can be reached.
        values: for the page's script, as JSON can hold them.
    """
    told = {
        "csrf": "" if who is None else who.csrf,
        "scopes": [] if who is None else sorted(_granted(who)),
        "sites": None if who is None or who.sites is None else sorted(who.sites),
        "kiosk": kiosk, "text": dict(TEXT), **values,
    }  # fmt: skip
    html = templates().get_template(f"{name}.html").render(
        name=name, who=who, path=path, places=[] if kiosk else places_of(who), kiosk=kiosk,
        told=told,
    )  # fmt: skip
    return HTMLResponse(html, status)


def _granted(who: Principal) -> set[str]:
    return {scope for scope in ("verify", "identify", "enrol", "admin") if who.may(scope)}
