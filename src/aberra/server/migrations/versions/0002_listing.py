"""Indices of the worklist, places of missed findings, and files of cases that are deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change indices, write the readings anew and add what waits for removal.

    What was said of a case as a whole had region 0, which is a missed finding now, and becomes -1; the
    audit trail's lines stay as they are.
    """
    op.execute("UPDATE cases SET search = substr(search, 1, 500)")
    op.drop_index("ix_cases_detector", "cases")
    op.drop_index("cases_ranked", "cases")
    op.create_index("cases_ranked", "cases", ["p", "score", "id", "status", "detector", "search"])
    op.create_index("cases_filtered", "cases", ["status", "p", "score", "id", "detector", "search"])
    op.drop_index("ix_readings_user_id", "readings")
    op.rename_table("readings", "readings_before")
    op.create_table(
        "readings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("region", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(length=64), nullable=False),
        sa.Column("grade", sa.String(length=32), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"]),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id", name="readings_key"),
        sa.UniqueConstraint("case_id", "user_id", "region", "place"),
    )
    op.execute(
        "INSERT INTO readings (case_id, user_id, region, place, grade, note, time) "
        "SELECT case_id, user_id, CASE region WHEN 0 THEN -1 ELSE region END, '', grade, note, time "
        "FROM readings_before ORDER BY id"
    )
    op.drop_table("readings_before")
    op.create_index("readings_of_reader", "readings", ["user_id", "region", "case_id"])
    op.create_table(
        "removals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    """Refuse: readings of missed findings would be lost.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("restore a backup of the version before instead")
