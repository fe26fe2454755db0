"""A port that cannot be had is named, with what to do."""

from __future__ import annotations

import pytest

from gateline.kernel.errors import ConfigurationError, PortInUse
from gateline.local import bind, is_free
from gateline.local.running import address


def test_a_port_in_use_is_named_with_the_option_that_chooses_another() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        with pytest.raises(PortInUse) as caught:
            bind("127.0.0.1", port, option="--serving-port")
        assert f"Port {port} on 127.0.0.1 is in use" in caught.value.message
        assert "--serving-port N" in caught.value.next_step
    assert is_free("127.0.0.1", port)
    bind("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid", "not a host"])
def test_an_address_of_another_machine_is_a_configuration_error(host: str) -> None:
    with pytest.raises(ConfigurationError, match="Cannot listen on"):
        bind(host, 0)


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("localhost", "127.0.0.1")])  # noqa: S104
def test_the_address_is_one_that_a_client_can_use(host: str, shown: str) -> None:
    with bind(host, 0) as listener:
        assert address(listener) == f"http://{shown}:{listener.getsockname()[1]}"
