"""The process that handles the files of an object store, when it or its parent dies at a bad time."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading

from gateline.data.apart import StoreProcess, _end, serve


def request(folder, size: int) -> bytes:
    asked = {"operation": "put", "uri": str(folder), "path": "rows.parquet", "to": "", "size": size, "options": {}}
    return json.dumps(asked).encode() + b"\n"


def test_a_file_whose_sender_died_in_the_middle_is_not_put(tmp_path):
    whole = request(tmp_path, 4) + b"rows"
    for kept in (len(whole) - 1, len(whole) - 4, len(whole) - 10):
        answers = io.BytesIO()
        serve(io.BytesIO(whole[:kept]), answers)
        assert (answers.getvalue(), [*tmp_path.iterdir()]) == (b"", [])
    answers = io.BytesIO()
    serve(io.BytesIO(whole), answers)
    assert json.loads(answers.getvalue()) == {"value": None}
    assert (tmp_path / "rows.parquet").read_bytes() == b"rows"


def test_a_child_that_does_not_answer_is_ended_while_somebody_waits_for_it():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        waiting = threading.Thread(target=child.stdout.readline, daemon=True)
        waiting.start()
        ending = threading.Thread(target=_end, args=(child,), daemon=True)
        ending.start()
        ending.join(10)
        assert not ending.is_alive()
        assert child.returncode is not None
    finally:
        child.kill()


def test_a_child_that_was_killed_is_started_again(tmp_path):
    process = StoreProcess({})
    process.call("put", str(tmp_path), "one", content=b"1")
    process._child.kill()
    process.call("put", str(tmp_path), "two", content=b"2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
