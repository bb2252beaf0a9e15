"""Run by Alembic: migrate the connection that :mod:`aberra.server.database` hands over."""

from __future__ import annotations

from alembic import context

from aberra.server.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
