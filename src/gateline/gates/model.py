"""What a gate says: verdicts, results with their numbers, and the signed record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateline.kernel.canonical import digest
from gateline.kernel.clock import Instant

STATEMENT_TYPE = "application/vnd.in-toto+json"
GATE_RUN_PREDICATE = "urn:gateline:gate-run:1"
_STATEMENT_SCHEMA = "https://in-toto.io/Statement/v1"


class Verdict(StrEnum):
    """What a check or a whole gate run concludes. Only `pass` opens a gate."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class Sense(StrEnum):
    """On which side of its threshold a value has to lie."""

    AT_LEAST = ">="
    AT_MOST = "<="


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: The check, with what it looked at: `holdout`, `slices:carrier`.
        verdict: Its conclusion.
        sentence: One sentence for people; it quotes the value, the threshold, n and units, or says what is wrong or missing.
        value: The measured number; None when nothing could be measured.
        threshold: The number the policy asks for, in the unit of `value`.
        sense: On which side of the threshold the value has to lie.
        n: Rows (or requests) looked at.
        units: Dependence units among them; None where rows are independent or the check is exact.
        interval: Ends of the interval, in the unit of `value`; None for exact checks and where nothing bounds the value.
        details: JSON-able facts behind the sentence.
    """

    name: str
    verdict: Verdict
    sentence: str
    value: float | None = None
    threshold: float | None = None
    sense: Sense | None = None
    n: int = 0
    units: int | None = None
    interval: tuple[float, float] | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "name": self.name, "verdict": self.verdict.value, "sentence": self.sentence, "value": self.value,
            "threshold": self.threshold, "sense": self.sense.value if self.sense else None, "n": self.n, "units": self.units,
            "interval": list(self.interval) if self.interval else None, "details": self.details,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> CheckResult:
        """Return the result that `as_dict` wrote."""
        interval = fields["interval"]
        return cls(
            name=fields["name"], verdict=Verdict(fields["verdict"]), sentence=fields["sentence"], value=fields["value"],
            threshold=fields["threshold"], sense=Sense(fields["sense"]) if fields["sense"] else None, n=fields["n"],
            units=fields["units"], interval=(interval[0], interval[1]) if interval else None, details=fields["details"],
        )  # fmt: skip


def files_digest(files: Mapping[str, str]) -> str:
    """Return the identity of a served form: the digest of its manifest {path: sha256}.

    >>> files_digest({"model.txt": "a" * 64}) == files_digest({"model.txt": "b" * 64})
    False
    """
    return digest("model-files/1", dict(files))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSubject:
    """The model a gate judges, named by content.

    Attributes:
        run_id: The tracked run that trained it.
        files: Manifest of the served form, {path: sha256}; `serving.json` is among them, and every file is in the object store.
        training_frame: SHA-256 of the Parquet file with exactly the rows it was trained on; schema and base rate are read from it.
        trained_until: End of the training period in UTC microseconds (exclusive).
        version: Version id, when it is registered already (a champion is).
    """

    run_id: str
    files: Mapping[str, str]
    training_frame: str
    trained_until: Instant
    version: str = ""

    @property
    def digest(self) -> str:
        """The digest of the served form's manifest."""
        return files_digest(self.files)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "run_id": self.run_id, "files": dict(self.files), "training_frame": self.training_frame,
            "trained_until": self.trained_until, "version": self.version,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ModelSubject:
        """Return the subject that `as_dict` wrote."""
        return cls(**{name: fields[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRecord:
    """A policy and when this installation first saw it.

    Attributes:
        digest: Identity of the policy: the digest of all its values, defaults included.
        document: All its values.
        recorded_at: First seen, in UTC microseconds; it never changes.
        recorded_by: Name of the principal that recorded it.
    """

    digest: str
    document: dict[str, Any]
    recorded_at: Instant
    recorded_by: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {"digest": self.digest, "document": self.document, "recorded_at": self.recorded_at, "recorded_by": self.recorded_by}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRun:
    """The record of one judgement, bound to the digests of model, data and policy.

    Attributes:
        id: Record id.
        verdict: All results combined.
        results: What each check found, in the order of the suite.
        subject: The model judged.
        subject_digest: Digest of its served form's manifest.
        frame: SHA-256 of the Parquet file with the holdout rows.
        policy_digest: The policy judged by.
        policy_recorded_at: When that policy was first seen, in UTC microseconds: before the first look at these results.
        suite: Names of the checks asked for.
        champion: The version compared against, if any.
        request_digest: Digest of all inputs; an equal request returns the earlier record.
        started_at: Begin, in UTC microseconds.
        finished_at: End, in UTC microseconds.
        created_by: Name of the principal that asked for it.
        envelope: DSSE envelope over an in-toto statement of the above.
    """

    id: str
    verdict: Verdict
    results: tuple[CheckResult, ...]
    subject: ModelSubject
    subject_digest: str
    frame: str
    policy_digest: str
    policy_recorded_at: Instant
    suite: tuple[str, ...]
    champion: ModelSubject | None
    request_digest: str
    started_at: Instant
    finished_at: Instant
    created_by: str
    envelope: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the gate is open."""
        return self.verdict is Verdict.PASS

    def content(self) -> dict[str, Any]:
        """Return all fields but the signature: what is stored and signed."""
        return {
            "id": self.id, "verdict": self.verdict.value, "results": [one.as_dict() for one in self.results],
            "subject": self.subject.as_dict(), "subject_digest": self.subject_digest, "frame": self.frame,
            "policy_digest": self.policy_digest, "policy_recorded_at": self.policy_recorded_at, "suite": list(self.suite),
            "champion": self.champion.as_dict() if self.champion else None, "request_digest": self.request_digest,
            "started_at": self.started_at, "finished_at": self.finished_at, "created_by": self.created_by,
        }  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, signature included."""
        return {**self.content(), "envelope": self.envelope}

    def statement(self) -> dict[str, Any]:
        """Return the in-toto statement (v1) that is signed: its subjects are the model's files."""
        return {
            "_type": _STATEMENT_SCHEMA,
            "subject": [{"name": path, "digest": {"sha256": sha256}} for path, sha256 in sorted(self.subject.files.items())],
            "predicateType": GATE_RUN_PREDICATE,
            "predicate": self.content(),
        }

    @property
    def statement_digest(self) -> str:
        """Digest of the signed statement, by which approvals and the ledger refer to it."""
        return digest("statement/1", self.statement())

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> GateRun:
        """Return the run that `as_dict` or `content` wrote."""
        champion = fields["champion"]
        return cls(
            **{name: fields[name] for name in _PLAIN},
            verdict=Verdict(fields["verdict"]),
            results=tuple(CheckResult.from_dict(one) for one in fields["results"]),
            subject=ModelSubject.from_dict(fields["subject"]),
            suite=tuple(fields["suite"]),
            champion=ModelSubject.from_dict(champion) if champion else None,
            envelope=fields.get("envelope", {}),
        )


_PLAIN = (
    "id", "subject_digest", "frame", "policy_digest", "policy_recorded_at", "request_digest", "started_at", "finished_at", "created_by",
)  # fmt: skip
