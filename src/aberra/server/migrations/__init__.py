"""How the database became what it is; run by :meth:`aberra.server.database.Database.migrate`."""
