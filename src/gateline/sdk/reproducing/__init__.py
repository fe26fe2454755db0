"""Making a model version again: its code, environment and settings are rebuilt aside, it is retrained, and the server grades it."""

from gateline.sdk.reproducing.making import reproduce
from gateline.sdk.reproducing.settings import EnvironmentChoice

__all__ = ["EnvironmentChoice", "reproduce"]
