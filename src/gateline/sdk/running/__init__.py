"""Running pipelines: a runner asks for work, and executes each step in a child process of its own."""

from gateline.sdk.running.inline import run_inline
from gateline.sdk.running.runner import Runner

__all__ = ["Runner", "run_inline"]
