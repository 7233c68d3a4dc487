"""The truth about a gallery in SQL: people, photos, faces, templates, and what was decided.

Read `schema.py` for the tables, `session.py` for transactions, `sync.py` for how a vector index is
kept true to them.
"""
