"""Who acts: the name that decisions, operations and events are recorded under.

`user:NAME` is a user of the operating system, `key:NAME` a key of the HTTP interface. The store
puts it into `session.info["actor"]`; the functions that record something read it from there.
"""

import os
import pwd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def system_actor() -> str:
    """The user this process runs as, such as `user:ann`; environment variables have no say."""
    number = os.getuid()
    try:
        return f"user:{pwd.getpwuid(number).pw_name}"
    except KeyError:  # as in a container that runs under a bare number
        return f"user:{number}"


def actor_of(session: "Session") -> str:
    """Who acts in a transaction: whom the store was opened for, else the system's user."""
    return session.info.get("actor") or system_actor()
