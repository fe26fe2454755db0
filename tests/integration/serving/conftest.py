import pytest

from gateline.serving import Fleet
from tests.integration.serving.support import Installation


@pytest.fixture
def installation(home, sqlite_ledger):
    return Installation(home, sqlite_ledger)


@pytest.fixture
def fleet(installation):
    """One running worker."""
    running = Fleet(installation.settings)
    running.start()
    yield running
    running.stop()
