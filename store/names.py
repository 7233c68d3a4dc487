"""What a person or a site may be called."""

import unicodedata
from typing import Final

from store.errors import InvalidName

NAME_LENGTH: Final = 200
FORBIDDEN: Final = ("Cc", "Cs", "Zl", "Zp")  # controls, lone surrogates, line and page separators


def composed(name: str) -> str:
    """A name without outer spaces, in Unicode's composed form (NFC), as names are compared."""
    return unicodedata.normalize("NFC", name).strip()


def clean_name(name: str) -> str:
    """A name as it is stored: stripped, in Unicode's composed form (NFC).

    Raises:
        InvalidName: empty, longer than 200 characters, or with control characters.
    """
    cleaned = composed(name)
    if not cleaned:
        raise InvalidName("A name cannot be empty; give at least one character.")
    if len(cleaned) > NAME_LENGTH:
        raise InvalidName(
            f"A name has at most {NAME_LENGTH} characters; got {len(cleaned)}: shorten it."
        )
    if any(unicodedata.category(character) in FORBIDDEN for character in cleaned):
        raise InvalidName(f"The name {cleaned!r} holds control characters; remove them.")
    return cleaned


def clean_site(site: str) -> str:
    """A site's name as it is stored; "" is the default site.

    Raises:
        InvalidName: as `clean_name`.
    """
    return clean_name(site) if site.strip() else ""
