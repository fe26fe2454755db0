"""A limit on everything that comes from outside."""

from __future__ import annotations

UPLOAD_BYTES_MAX = 2 << 30
REQUEST_BYTES_MAX = 16 << 20
INFERENCE_BYTES_MAX = 8 << 20
INFERENCE_ROWS_MAX = 10_000
EVENT_ROWS_MAX = 10_000
FEATURE_ROWS_MAX = 10_000
LABEL_ROWS_MAX = 100_000
SPOOL_ROWS_MAX = 10_000
TABLE_COLUMNS_MAX = 4_096
UNZIPPED_BYTES_MAX = 8 << 30
NAME_LENGTH_MAX = 100
TEXT_LENGTH_MAX = 10_000
PAGE_ROWS_MAX = 1_000
DEFINITIONS_CACHED = 256
"""Definitions of features that each cache in memory holds."""
