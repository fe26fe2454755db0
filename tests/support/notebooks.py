"""Notebooks for tests: `.ipynb` documents made of sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MARKDOWN = "#md "


def document(*sources: str | tuple[str, list[str]], counts: list[int | None] | None = None, **metadata: Any) -> dict[str, Any]:
    """Return a notebook of format 4: sources that begin with `#md ` are text; a tuple adds tags; cells with code are counted from 1."""
    cells: list[dict[str, Any]] = []
    given = iter(counts) if counts is not None else iter(range(1, len(sources) + 1))
    for number, one in enumerate(sources):
        source, tags = one if isinstance(one, tuple) else (one, [])
        cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {"tags": tags} if tags else {}, "source": source}
        if source.startswith(MARKDOWN):
            cells.append({**cell, "cell_type": "markdown", "source": source.removeprefix(MARKDOWN)})
        else:
            cells.append({**cell, "cell_type": "code", "execution_count": next(given), "outputs": []})
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}


def written(path: Path, *sources: str | tuple[str, list[str]], **more: Any) -> Path:
    """Write such a notebook."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(*sources, **more)), encoding="utf-8")
    return path
