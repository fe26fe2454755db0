"""Latency: requests against a real worker that serves this very form stay under the declared 99th percentile."""

from __future__ import annotations

import math

import numpy as np

from gateline.gates.inputs import GateInputs
from gateline.gates.model import CheckResult, Sense, Verdict
from gateline.gates.rules import counted, judge, measured, quantile_bounds, samples_needed
from gateline.kernel.errors import InvalidInput

_NAME = "latency"
_QUANTILE = 0.99
_WHAT = "99th percentile of a request on a real worker is"


def check_latency(inputs: GateInputs) -> list[CheckResult]:
    """Return the 99th percentile of the time of one request, in milliseconds (smaller is better).

    Rows are drawn from the holdout by the policy's seed. The ends are order statistics and hold by themselves with the policy's level:
    no shape of the distribution is assumed.
    """
    policy = inputs.policy.latency
    if not inputs.frame.height:
        return [CheckResult(name=_NAME, verdict=Verdict.INCONCLUSIVE, sentence="the holdout has no rows to make requests of")]
    generator = np.random.Generator(np.random.PCG64(inputs.policy.seed))
    chosen = generator.integers(inputs.frame.height, size=policy.warmup + policy.requests)
    times = np.asarray(inputs.probe(inputs.frame[chosen.tolist()]), dtype=np.float64)
    if times.shape != (len(chosen),):
        raise InvalidInput(f"the probe answered {len(times):,} of {len(chosen):,} requests")
    times = times[policy.warmup :]
    if wrong := int(np.count_nonzero(~np.isfinite(times) | (times < 0))):
        raise InvalidInput(f"{wrong:,} of {len(times):,} request times are not numbers of milliseconds")
    value, lower, upper = quantile_bounds(times, _QUANTILE, inputs.policy.level)
    needed = samples_needed(_QUANTILE, inputs.policy.level)
    interval = (lower, upper) if upper is not None and math.isfinite(lower) else None
    verdict, ending = Verdict.INCONCLUSIVE, ""
    if interval is not None:
        verdict = judge(value, interval, policy.p99_ms_max, Sense.AT_MOST)
    if verdict is Verdict.INCONCLUSIVE:
        missing = max(0, needed - len(times))
        ending = f"; undecided, {missing:,} more requests are needed" if missing else "; undecided, send more requests"
    sentence = measured(_WHAT, value, interval, counted(len(times), "request"), policy.p99_ms_max, Sense.AT_MOST, " ms")
    return [
        CheckResult(
            name=_NAME,
            verdict=verdict,
            sentence=sentence + ending,
            value=value,
            threshold=policy.p99_ms_max,
            sense=Sense.AT_MOST,
            n=len(times),
            interval=interval,
            details={
                "p50_ms": float(np.quantile(times, 0.5)),
                "p90_ms": float(np.quantile(times, 0.9)),
                "max_ms": float(times.max()),
                "warmup_requests": policy.warmup,
                "requests_needed": needed,
                "level": inputs.policy.level,
            },
        )
    ]
