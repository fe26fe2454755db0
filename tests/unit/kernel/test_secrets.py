from __future__ import annotations

import pytest

from gateline.kernel.errors import ConfigurationError
from gateline.kernel.secrets import resolve_secrets

VARIABLES = {"PW": "p@ss/w:rd", "URL": "db://me:x@host"}


def resolved(text):
    return resolve_secrets(text, variable=VARIABLES.get)


def test_a_reference_in_a_url_is_encoded_and_a_whole_text_is_taken_as_it_is(tmp_path):
    (tmp_path / "pw").write_text("from a file\n")
    assert resolved("db://me:secret://env/PW@host/x").reveal() == "db://me:p%40ss%2Fw%3Ard@host/x"
    assert resolved("secret://env/URL").reveal() == "db://me:x@host"
    assert resolved(f"db://me:secret://file{tmp_path}/pw@host").reveal() == "db://me:from%20a%20file@host"
    assert resolved("db://host").reveal() == "db://host"


def test_neither_value_nor_text_shows():
    found = resolved("db://me:secret://env/PW@host")
    assert "p@ss" not in repr(found)
    assert found.redact(f"no {found.reveal()}, no p@ss/w:rd, no p%40ss%2Fw%3Ard") == "no ***, no ***, no ***"


def test_what_is_missing_is_named_and_nothing_else(tmp_path):
    with pytest.raises(ConfigurationError, match="secret://env/NOTHING is not set"):
        resolved("secret://env/NOTHING")
    with pytest.raises(ConfigurationError, match="/nowhere cannot be read: No such file"):
        resolved("secret://file/nowhere")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="it is not UTF-8") as error:
        resolved(f"secret://file{tmp_path}/bytes")
    assert error.value.__cause__ is None
