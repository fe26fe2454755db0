"""The schema of the records database, revision by revision (Alembic)."""
