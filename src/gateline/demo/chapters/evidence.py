"""Chapter 9: one served prediction is traced to raw files; the ledger is verified, and so is a copy in which one byte differs."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateline.demo.replay import prediction_id
from gateline.kernel.canonical import sha256_file
from gateline.kernel.errors import IntegrityFailure, StepFailed

if TYPE_CHECKING:
    from gateline.demo.stage import Stage

COPY = "ledger-copy"
FLIPPED_KIND = "model.version.approved"
_VERIFY_SECONDS = 120


def tell(stage: Stage) -> None:
    """Trace a prediction, verify the ledger, then verify a copy in which one byte was changed."""
    _trace(stage)
    auditor = stage.client("auditor")
    checkpoint = auditor.get("/ledger/checkpoint")
    found = auditor.post("/ledger/verify")
    if not found["sound"]:
        raise IntegrityFailure(f"The ledger is not sound: {found['problems']}")
    stage.teller.say(
        f"the ledger is sound: {found['entries']:,} entries, {found['checkpoints']} signed checkpoints, root {checkpoint['root'][:16]}…",
        "ok",
    )
    _verify_changed_copy(stage)


def _trace(stage: Stage) -> None:
    """Print what a prediction was made from, back to the digests of the raw files."""
    say, more = stage.teller.say, stage.teller.more
    wanted = prediction_id(stage.playing.traffic.last_body)
    found = stage.client("auditor").get(f"/predictions/{wanted}/lineage")
    prediction, nodes = found["prediction"], found["lineage"]["nodes"]
    say(
        f"prediction {wanted} = {prediction['prediction']:.4f} by {prediction['version']}, arm {prediction['arm']}, "
        f"event time marked '{prediction['event_time_source']}'",
        "ok",
    )
    for kind in ("model_version", "run", "gate_run", "feature_set_version", "frame", "dataset_version"):
        ids = [one["id"] for one in nodes if one["kind"] == kind]
        if ids:
            more(f"{kind.replace('_', ' ')}: {', '.join(one if len(one) < 40 else one[:16] + '…' for one in ids)}")
    raw = {one["id"]: one["label"] for one in nodes if one["kind"] == "raw_file"}
    from gateline.demo.chapters.data import raw_files

    for name, path in raw_files().items():
        sha256 = sha256_file(path)
        if sha256 not in raw:
            raise IntegrityFailure(f"The lineage of {wanted} does not lead to the raw file {path.name} (sha256 {sha256}).")
        more(f"raw file of {name}: sha256 {sha256}, the very file in the package")


def _verify_changed_copy(stage: Stage) -> None:
    """Copy records and keys, flip one byte of one entry in the copy, and let `gateline ledger verify` look at it."""
    home = stage.options.home.absolute()
    copy = home / COPY
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    try:
        shutil.copytree(home / "keys", copy / "keys")
        with closing(sqlite3.connect(home / "records.db")) as source, closing(sqlite3.connect(copy / "records.db")) as target:
            source.backup(target)
            seq = flip_one_byte(target, FLIPPED_KIND)
        found = _verify(stage, copy)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    named = [one for one in found["problems"] if one["seq"] == seq]
    if found["sound"] or not named:
        raise StepFailed(f"One byte of entry {seq} was changed in a copy, and verification said: {found['problems'] or 'sound'}")
    stage.teller.say(f"in a copy one byte of entry {seq} ({FLIPPED_KIND}) is flipped; verification of the copy names it:", "no")
    for one in found["problems"][:2]:
        stage.teller.more(one["detail"])


def flip_one_byte(database: sqlite3.Connection, kind: str) -> int:
    """Flip one bit in the payload of the newest ledger entry of a kind, past the triggers, and return the entry's position.

    Raises:
        StepFailed: there is no such entry.
    """
    row = database.execute("SELECT seq, payload FROM ledger_entry WHERE kind = ? ORDER BY seq DESC LIMIT 1", (kind,)).fetchone()
    if row is None:
        raise StepFailed(f"The ledger has no entry of kind {kind}.")
    seq, payload = row
    triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'ledger_entry'").fetchall()
    for (name,) in triggers:
        database.execute(f'DROP TRIGGER "{name}"')
    database.execute("UPDATE ledger_entry SET payload = ? WHERE seq = ?", (flipped(payload), seq))
    database.commit()
    return int(seq)


def flipped(payload: str) -> str:
    """Return JSON text in which one bit of one byte differs, and which still is JSON of another value.

    >>> flipped('{"a": "b"}')
    '{"a": "c"}'
    """
    for position in range(len(payload) - 1, -1, -1):
        if payload[position].isascii() and payload[position].isalnum():
            changed = payload[:position] + chr(ord(payload[position]) ^ 1) + payload[position + 1 :]
            try:
                if json.loads(changed) != json.loads(payload):
                    return changed
            except ValueError:
                continue
    raise StepFailed("The payload has no byte that could be changed.")


def _verify(stage: Stage, copy: Path) -> dict[str, Any]:
    """Run `gateline ledger verify` on a folder and return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "gateline", "--home", str(copy), "ledger", "verify", "--json"],
        capture_output=True, text=True, timeout=_VERIFY_SECONDS, check=False, cwd=stage.options.home,
    )  # fmt: skip
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise StepFailed(f"Verification of the copy gave no answer: {done.stderr[-500:]}") from error
    if "problems" not in answer:
        raise StepFailed(f"Verification of the copy failed: {answer.get('detail', done.stderr[-500:])}")
    return answer
