"""Notebooks: what was run is captured with its run, a saved notebook is checked, and becomes a project."""

from __future__ import annotations

from gateline.sdk.notebook.capture import load_ipython_extension, log_notebook, unload_ipython_extension
from gateline.sdk.notebook.checking import Finding, Severity, check_notebook
from gateline.sdk.notebook.converting import Conversion, convert
from gateline.sdk.notebook.reading import Cell, Notebook, read_notebook
from gateline.sdk.notebook.recording import log_saved_notebook

__all__ = [
    "Cell",
    "Conversion",
    "Finding",
    "Notebook",
    "Severity",
    "check_notebook",
    "convert",
    "load_ipython_extension",
    "log_notebook",
    "log_saved_notebook",
    "read_notebook",
    "unload_ipython_extension",
]
