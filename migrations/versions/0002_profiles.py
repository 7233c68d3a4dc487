"""Profiles; the second threshold of a decision, and whether it was extrapolated.

Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "profiles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("fmr", sa.Double(), nullable=False),
        sa.Column("fpir", sa.Double(), nullable=False),
        sa.Column("unsure", sa.Double(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_profiles"),
        sa.UniqueConstraint("name", name="uq_profiles_name"),
    )
    op.add_column("decisions", sa.Column("unsure_above", sa.Double(), nullable=True))
    op.add_column("decisions", sa.Column("extrapolated", sa.Boolean(), nullable=True))
