"""A local S3 for the tests of what lies in an object store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """An S3 in a process of its own."""
    running = S3Server()
    yield running
    running.stop()


@pytest.fixture
def s3(server: S3Server) -> Iterator[S3Server]:
    """The same, with an empty bucket, and answering."""
    yield server
    server.control(method="", part="", status=0, hold=False, failed=0, held=0, expired=0)
    server.empty()
