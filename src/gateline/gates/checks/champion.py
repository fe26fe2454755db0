"""Champion: the candidate is better than the version in production, on rows that neither was trained on."""

from __future__ import annotations

from gateline.gates.checks.paired import measure, too_little
from gateline.gates.inputs import GateInputs
from gateline.gates.model import CheckResult, Sense, Verdict
from gateline.gates.rules import figures, judge_champion
from gateline.kernel.clock import iso
from gateline.kernel.errors import InvalidInput
from gateline.stats import log_loss_rows

_NAME = "champion"
_WORDS = {
    Verdict.PASS: "the candidate is shown better",
    Verdict.FAIL: "the candidate is shown worse",
    Verdict.INCONCLUSIVE: "not shown either way, so the champion stays",
    Verdict.ERROR: "the difference is no number",
}


def check_champion(inputs: GateInputs) -> list[CheckResult]:
    """Return candidate minus champion log loss, paired by row, in nats (smaller is better).

    The interval resamples whole units: on flights, resampled rows call a difference certain that resampled days leave open. Pass means
    shown better by more than the margin, fail shown worse, inconclusive neither. A window that reaches into either model's training
    period is refused.
    """
    policy, champion = inputs.policy.champion, inputs.champion
    if champion is None:
        raise InvalidInput("no champion was given to compare with")
    inputs.require_later(inputs.subject, "the candidate")
    inputs.require_later(champion, f"the champion {champion.version}".strip())
    inputs.require_unseen()
    missing = too_little(_NAME, inputs, policy.units_min)
    if missing is not None:
        return [missing]
    difference = log_loss_rows(inputs.labels, inputs.scores) - log_loss_rows(inputs.labels, inputs.champion_scores)
    threshold = 0.0 - policy.margin
    found = measure(difference, inputs.units, inputs.policy, threshold)
    verdict = judge_champion(found.interval, policy.margin) if found.interval else Verdict.INCONCLUSIVE
    numbers = figures(found.value, threshold, *(found.interval or ()))
    ends = f" [{numbers[2]}, {numbers[3]}]" if found.interval else ""
    sentence = (
        f"log loss differs from the champion{' ' + champion.version if champion.version else ''}'s by {numbers[0]}{ends} "
        f"over {found.over}; required below {numbers[1]}: {_WORDS[verdict]}"
    )
    return [
        CheckResult(
            name=_NAME,
            verdict=verdict,
            sentence=sentence + found.ending(verdict),
            value=found.value,
            threshold=threshold,
            sense=Sense.AT_MOST,
            n=found.rows,
            units=found.units,
            interval=found.interval,
            details={
                "champion": champion.version,
                "champion_digest": champion.digest,
                "log_loss_candidate": float(log_loss_rows(inputs.labels, inputs.scores).mean()),
                "log_loss_champion": float(log_loss_rows(inputs.labels, inputs.champion_scores).mean()),
                "window_start": iso(inputs.window_start),
                "unlabelled_rows": inputs.unlabelled,
                "units_missing": found.units_missing,
                "level": inputs.policy.level,
            },
        )
    ]
