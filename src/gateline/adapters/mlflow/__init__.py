"""MLflow, embedded behind our authentication and gates.

MLflow itself (eight seconds and 150 MB) is imported by `EmbeddedMlflow.start` in a background thread, never by importing this package.
"""

from gateline.adapters.mlflow.embedded import EmbeddedMlflow, State
from gateline.adapters.mlflow.registrations import Registered

__all__ = ["EmbeddedMlflow", "Registered", "State"]
