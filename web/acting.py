"""The gallery as one caller's: what is recorded through it is recorded under their name."""

from __future__ import annotations

from verify.opening import Parts


def parts_for(parts: Parts, actor: str) -> Parts:
    """The same gallery, networks and index, with a store that records another actor.

    Args:
        parts: the server's own, opened.
        actor: who asks, such as `key:gate-1`.
    """
    own = Parts(parts.places)
    vars(own).update(vars(parts))
    vars(own)["store"] = parts.store.acting_as(actor)
    return own
