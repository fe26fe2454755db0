"""Optuna's samplers and pruners over our own records.

Callers may rely on: a proposal depends on the definition of the search, the number of the trial and the trials before it, and on nothing
else. A sampler is made anew for each trial, seeded by seed and number, and shown what is recorded; so there is no state of it to save, and
a search that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import warnings
from typing import TYPE_CHECKING, Any

from gateline.kernel.canonical import canonical_bytes
from gateline.kernel.errors import StepFailed
from gateline.pipelines import TrialState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SEED_BYTES = 4
_IMPORTANCES_TRIALS_MIN = 4
_EPOCH = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - Optuna wants one without zone, and nothing depends on it


def require_optuna() -> Any:
    """Return the module `optuna`, told to be quiet.

    Raises:
        StepFailed: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise StepFailed(
            "A search needs Optuna, which is not installed.", next_step="Install gateline[search] where the steps run."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def warm_up() -> None:
    """Load what a trial needs of Optuna, when it is installed, so that the processes of trials are forked with it."""
    with contextlib.suppress(StepFailed):
        optuna = require_optuna()
        optuna.samplers.TPESampler(seed=0)
        optuna.pruners.MedianPruner()


def propose(definition: Mapping[str, Any], number: int, before: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parameters of a trial.

    Args:
        definition: As `gateline.pipelines.search_space` describes, sound.
        number: Which trial, from 0.
        before: The other trials: `number`, `state`, `parameters`, `value` and `last_step`. Those without parameters do not count.

    Raises:
        StepFailed: Optuna is not installed.
    """
    optuna, space = require_optuna(), definition["space"]
    sources = {name: _distribution(optuna, space[name]) for name in sorted(space)}
    known = sorted((one for one in before if one["parameters"] and one["number"] != number), key=lambda one: int(one["number"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = _study(optuna, definition, sampler=_sampler(optuna, definition, number))
        study.add_trials([frozen for one in known if (frozen := _frozen(optuna, space, sources, one)) is not None])
        found = study.ask(sources).params
    return {name: _outside(space[name], found[name]) for name in space}


def is_hopeless(definition: Mapping[str, Any], values: Mapping[int, float], step: int, *, completed: int, at_step: Sequence[float]) -> bool:
    """Return whether the pruner of a search would stop a trial at a step.

    Args:
        definition: As `gateline.pipelines.search_space` describes, sound.
        values: What the trial has reported, by step.
        step: The last of these.
        completed: How many trials are complete.
        at_step: The values that these reported at the step.
    """
    pruner = definition["pruner"]
    if pruner is None or not values:
        return False
    optuna = require_optuna()
    compared = optuna.pruners.MedianPruner(
        n_startup_trials=pruner["startup_trials"], n_warmup_steps=pruner["warmup_steps"], interval_steps=pruner["interval_steps"]
    )
    study = _study(optuna, definition)
    others = [{step: value} for value in at_step] + [{}] * (completed - len(at_step))
    study.add_trials([_reported(optuna, optuna.trial.TrialState.COMPLETE, one) for one in others])
    return bool(compared.prune(study, _reported(optuna, optuna.trial.TrialState.RUNNING, dict(values))))


def importances(definition: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how much each parameter matters for the objective, together 1, by PED-ANOVA (Watanabe et al. 2023); empty for few trials."""
    optuna, space = require_optuna(), definition["space"]
    sources = {name: _distribution(optuna, space[name]) for name in sorted(space)}
    complete = [one for one in trials if one["state"] == TrialState.COMPLETE]
    if len(complete) < _IMPORTANCES_TRIALS_MIN or len({one["value"] for one in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = _study(optuna, definition)
        study.add_trials([_frozen(optuna, space, sources, one) for one in complete])
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}


def _study(optuna: Any, definition: Mapping[str, Any], sampler: Any = None) -> Any:
    sampler = sampler or optuna.samplers.RandomSampler(seed=0)
    return optuna.create_study(direction=definition["direction"], sampler=sampler, pruner=optuna.pruners.NopPruner())


def _sampler(optuna: Any, definition: Mapping[str, Any], number: int) -> Any:
    """Return the sampler of one trial."""
    mixed = hashlib.sha256(f"{definition['seed']}/{number}".encode()).digest()
    seed, sampler = int.from_bytes(mixed[:_SEED_BYTES]), definition["sampler"]
    if sampler["kind"] == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=sampler["startup_trials"])


def _distribution(optuna: Any, source: Mapping[str, Any]) -> Any:
    """Return where the values of a parameter come from; of choices, which may be anything, their positions."""
    if source["kind"] == "choice":
        return optuna.distributions.CategoricalDistribution(list(range(len(source["choices"]))))
    if source["kind"] == "float":
        return optuna.distributions.FloatDistribution(float(source["low"]), float(source["high"]), log=source["log"])
    low, high, step = source["low"], source["high"], source["step"]
    return optuna.distributions.IntDistribution(low, high - (high - low) % step, log=source["log"], step=step)


def _outside(source: Mapping[str, Any], value: Any) -> Any:
    """Return a value as users see it."""
    if source["kind"] == "choice":
        return source["choices"][value]
    return float(value) if source["kind"] == "float" else int(value)


def _inside(source: Mapping[str, Any], value: Any) -> Any:
    """Return a value as Optuna sees it."""
    if source["kind"] != "choice":
        return value
    wanted = canonical_bytes(value)
    return next(position for position, one in enumerate(source["choices"]) if canonical_bytes(one) == wanted)


def _frozen(optuna: Any, space: Mapping[str, Any], sources: Mapping[str, Any], trial: Mapping[str, Any]) -> Any:
    """Return a trial of the records as one of Optuna's; None for one that teaches nothing."""
    parameters = {name: _inside(space[name], trial["parameters"][name]) for name in sources}
    states = optuna.trial.TrialState
    if trial["state"] == TrialState.COMPLETE:
        return optuna.trial.create_trial(params=parameters, distributions=dict(sources), value=float(trial["value"]))
    if trial["state"] == TrialState.PRUNED:
        reported = {} if trial["last_step"] is None or trial["value"] is None else {trial["last_step"]: float(trial["value"])}
        return optuna.trial.create_trial(state=states.PRUNED, params=parameters, distributions=dict(sources), intermediate_values=reported)
    if trial["state"] in {TrialState.RUNNING, TrialState.WAITING}:
        return _reported(optuna, states.RUNNING, {}, parameters, dict(sources))
    return None


def _reported(optuna: Any, state: Any, values: dict[int, float], parameters: Any = None, sources: Any = None) -> Any:
    """Return a trial of Optuna's that has reported these values."""
    over = state != optuna.trial.TrialState.RUNNING
    return optuna.trial.FrozenTrial(
        number=0, trial_id=0, state=state, value=0.0 if over else None, datetime_start=_EPOCH, datetime_complete=_EPOCH if over else None,
        params=parameters or {}, distributions=sources or {}, user_attrs={}, system_attrs={}, intermediate_values=values,
    )  # fmt: skip
