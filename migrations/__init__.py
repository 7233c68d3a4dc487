"""Bringing a database to the schema that the program wants.

Revisions are numbered with four digits and live in `versions/`; `store.revision.REVISION` names the
last. An upgrade is one transaction: it happens whole or not at all.
"""

from migrations.upgrading import Status, check, ensure_schema, script_config, upgrade

__all__ = ["Status", "check", "ensure_schema", "script_config", "upgrade"]
