"""Secrets in cells are found by their form and replaced; what is none stays."""

from __future__ import annotations

import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateline.sdk.notebook import check_notebook, read_notebook
from gateline.sdk.notebook.reading import cells_digest
from gateline.sdk.notebook.recording import document
from gateline.sdk.notebook.redacting import REDACTED, redact
from tests.support.notebooks import written

LONG = "aB3" * 15  # no token of anybody
SECRETS = {
    "password = 'hunter2'": "hunter2",
    'password = "it\'s"': "it's",
    "password: str = '''abc'''": "abc",
    "api_key = r'abcd'": "abcd",
    "connect(user='ana', db_password=\"hun'ter\\\\2\")": "hun'ter",
    "os.environ['OPENAI_API_KEY'] = 'foo-bar'": "foo-bar",
    "os.environ.setdefault('MLFLOW_TRACKING_TOKEN', 'foo-bar')": "foo-bar",
    "{'secret_key': 'foo', 'a': 1}": "foo",
    "%env HF_TOKEN=foobar": "foobar",
    "!mysql --password foobar": "foobar",
    "!curl -H 'Authorization: Bearer foobar' https://x": "foobar",
    "headers = {'Authorization': 'Basic Zm9vOmJhcg=='}": "Zm9vOmJhcg==",
    "create_engine('postgresql://ana:hunter2@db/x')": "hunter2",
    "requests.get(url, auth=('ana', 'hunter2'))": "hunter2",
    "k = '''-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----'''": "MIIE",
    "k = 'AKIA" + "A1B2C3D4E5F6G7H8'": "A1B2C3D4E5F6G7H8",
    f"use('ghp_{LONG}')": LONG,
    f"use('github_pat_{LONG}')": LONG,
    f"use('glpat-{LONG}')": LONG,
    f"use('hf_{LONG}')": LONG,
    f"use('sk-{LONG}')": LONG,
    f"use('sk_live_{LONG}')": LONG,
    f"use('xoxb-{LONG}')": LONG,
    f"use('pypi-{LONG}')": LONG,
    f"use('gl_{LONG[:43]}')": LONG[:43],
    f"use('eyJ{LONG}.{LONG}.{LONG}')": LONG,
}
HARMLESS = [
    "tokenizer = 'bert-base'",
    "pad_token, unk_token = '<pad>', '[UNK]'",
    "tok = AutoTokenizer.from_pretrained('gpt2', pad_token='<pad>', unk_token='[UNK]')",
    "rows[['token', 'lemma']]",
    "token = os.environ['TOKEN']",
    "password = getpass('Password: ')",
    "headers = {'Authorization': f'Bearer {token}'}",
    "create_engine(f'postgresql://ana:{password}@db/x')",
    "secret = 'secret://env/X'",
    "mlflow.set_tracking_uri('http://127.0.0.1:8000/mlflow')",
    "# Basic statistics of the bearer",
    "!echo $TOKEN",
    "sorted(rows, key='name')",
]


@pytest.mark.parametrize("source", SECRETS)
def test_a_secret_is_replaced_and_the_cell_can_still_be_read(source):
    clean, kinds = redact(source)
    assert SECRETS[source] not in clean
    assert REDACTED in clean
    assert kinds
    assert redact(clean) == (clean, ())
    if source[0] not in "%!":
        ast.parse(clean)


@pytest.mark.parametrize("source", HARMLESS)
def test_what_is_no_secret_stays(source):
    assert redact(source) == (source, ())


@given(st.lists(st.sampled_from([*SECRETS, *HARMLESS, "'", "[", "]", "=", "token", "\n", " ", "x"]), max_size=6).map(" ".join))
def test_what_is_redacted_stays_as_it_is(source):
    clean, _ = redact(source)
    assert redact(clean) == (clean, ())


def test_long_lines_are_read_to_the_end():
    long = "a_" * 50_000 + "\n!" + "x " * 50_000 + "\n://" + "y" * 50_000
    assert redact(f"{long}\npassword = 'hunter2'")[0] == f"{long}\npassword = '{REDACTED}'"


def test_a_notebook_with_a_secret_is_told_and_nothing_that_is_kept_holds_it(tmp_path):
    sources = ["!echo --password hunter2x", "password = 'hunter2x'\nprint(undefined)", "password"]
    notebook = read_notebook(written(tmp_path / "x.ipynb", *sources))
    findings = check_notebook(notebook)
    told = [(one.cell, one.severity.value) for one in findings if one.code == "secret"]
    assert told == [(1, "warning"), (2, "warning")]
    executed = [(cell.count, cell.source) for cell in notebook.code]
    kept = document(executed, findings)
    assert "hunter2x" not in json.dumps(kept)
    assert kept["sha256"] == notebook.sha256 == cells_digest((one["count"], one["source"]) for one in kept["cells"])
