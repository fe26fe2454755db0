"""Values between steps. Frames of Polars, plain values and paths are kept as they are, so that they can be looked at in a run.

Anything else, such as arrays and fitted models, is written as a file: numpy arrays as .npy, the rest with pickle. Whoever can write results
of this project's steps can have code run where they are read; write a format of the library instead where that matters.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle  # noqa: TID251 - of values that this project itself has written
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / ".gateline-cache" / "carried"
ARRAY = b"carried by carry.py: npy\n"
PICKLE = b"carried by carry.py: pickle\n"


def keep(value: Any, name: str) -> Any:
    """Return a value as a step may return it; `name` is for messages."""
    if plain(value) or isinstance(value, Path) or type(value).__module__.partition(".")[0] == "polars":
        return value
    content = array(value) or pickled(value, name)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / hashlib.sha256(content).hexdigest()
    path.write_bytes(content)
    return path


def take(value: Any) -> Any:
    """Return what `keep` was given."""
    if not isinstance(value, Path) or not value.is_file():
        return value
    with value.open("rb") as file:
        start = file.readline(100)
        if start == ARRAY:
            import numpy as np

            return np.load(file, allow_pickle=False)
        return pickle.load(file) if start == PICKLE else value  # noqa: S301 - what a step of this project has written


def plain(value: Any) -> bool:
    """Whether JSON gives the same value back."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return type(value) in {type(None), bool, int, float, str, list, dict} and repr(json.loads(text)) == repr(value)


def array(value: Any) -> bytes:
    """Return an array of numbers as .npy; nothing when it is none."""
    if f"{type(value).__module__}.{type(value).__name__}" != "numpy.ndarray" or value.dtype.hasobject:
        return b""
    import numpy as np

    file = io.BytesIO()
    np.save(file, value, allow_pickle=False)
    return ARRAY + file.getvalue()


def pickled(value: Any, name: str) -> bytes:
    """Return any other value as bytes."""
    try:
        return PICKLE + pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        kind = type(value).__name__
        message = f"'{name}' is a {kind}, which cannot go from one step to another: {error}. Join the two sections."
        raise TypeError(message) from error
