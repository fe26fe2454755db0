"""Feast: its repositories become Gateline definitions, and feature sets become Feast repositories. Feast itself is never imported."""

from __future__ import annotations

from gateline.adapters.feast.importing import Imported, import_repository
from gateline.adapters.feast.writing import Exported, export_repository

__all__ = ["Exported", "Imported", "export_repository", "import_repository"]
