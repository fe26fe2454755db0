"""What a search looks through and how, as values and as JSON: the definition that stands in a plan and counts for the key of each trial.

The definition is an object with these keys:

| key | it is |
| --- | --- |
| `space` | for each parameter, by name, where its values come from |
| `direction` | `minimize` or `maximize` |
| `sampler` | `{"kind": "random"}`, or `{"kind": "tpe", "startup_trials": 10}` |
| `pruner` | null, or `{"kind": "median", "startup_trials": 5, "warmup_steps": 0, "interval_steps": 1}` |
| `seed` | what the sampler draws from, together with the number of the trial |

Values come from `{"kind": "float", "low": 0.01, "high": 0.3, "log": true}`, from `{"kind": "integer", "low": 8, "high": 64, "log": false,
"step": 1}`, or from `{"kind": "choice", "choices": […]}`, where each choice is any JSON value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gateline.kernel.canonical import canonical_bytes
from gateline.kernel.errors import InvalidInput
from gateline.kernel.limits import NAME_LENGTH_MAX, SEARCH_CHOICES_MAX, SEARCH_PARAMETERS_MAX

DIRECTIONS = ("minimize", "maximize")
SEED_MAX = 2**32 - 1
_KEYS = {"space", "direction", "sampler", "pruner", "seed"}
_SAMPLERS: dict[str, dict[str, int]] = {"random": {}, "tpe": {"startup_trials": 1}}
_PRUNERS: dict[str, dict[str, int]] = {"median": {"startup_trials": 1, "warmup_steps": 0, "interval_steps": 1}}
_COUNT_MAX = 1_000_000
_WHOLE_MAX = 2**53
"""The greatest whole number that samplers, which calculate with floating point, can tell from its neighbours."""


def check_definition(definition: Any, what: str) -> None:
    """Refuse a definition that cannot be searched; every mistake is named.

    Raises:
        InvalidInput: naming them.
    """
    mistakes = definition_mistakes(definition)
    if mistakes:
        raise InvalidInput(f"The {what} cannot begin: {'; '.join(mistakes[:20])}.", facts={"mistakes": mistakes[:20]})


def definition_mistakes(definition: Any) -> list[str]:
    """Return what is wrong with a definition, one part of a sentence each; empty when it can be searched."""
    if not isinstance(definition, Mapping) or definition.keys() != _KEYS:
        return [f"its definition has not exactly {', '.join(sorted(_KEYS))}"]
    found = _space_mistakes(definition["space"])
    if definition["direction"] not in DIRECTIONS:
        found.append(f"its direction is {definition['direction']!r:.80}, not minimize or maximize")
    if not _is_whole(definition["seed"], 0, SEED_MAX):
        found.append(f"its seed is {definition['seed']!r:.80}, not a whole number from 0 to {SEED_MAX}")
    found += _choice_mistakes("sampler", definition["sampler"], _SAMPLERS)
    return found + ([] if definition["pruner"] is None else _choice_mistakes("pruner", definition["pruner"], _PRUNERS))


def parameter_mistakes(space: Mapping[str, Mapping[str, Any]], parameters: Any) -> list[str]:
    """Return how the parameters of a trial differ from what a sound space allows.

    >>> parameter_mistakes({"leaves": {"kind": "integer", "low": 8, "high": 64, "log": False, "step": 8}}, {"leaves": 12})
    ["'leaves' is 12, which is not in the space"]
    """
    if not isinstance(parameters, Mapping) or parameters.keys() != space.keys():
        return [f"the parameters are not exactly {', '.join(sorted(space))}"]
    return [
        f"'{name}' is {parameters[name]!r:.80}, which is not in the space" for name in space if not _holds(space[name], parameters[name])
    ]


def _holds(source: Mapping[str, Any], value: Any) -> bool:
    """Return whether a value can come from there."""
    if source["kind"] == "choice":
        return any(_same(value, one) for one in source["choices"])
    if source["kind"] == "float":
        return _is_number(value) and source["low"] <= value <= source["high"]
    inside = _is_whole(value, source["low"], source["high"])
    return inside and (value - source["low"]) % source["step"] == 0


def _same(one: Any, other: Any) -> bool:
    return canonical_bytes(one) == canonical_bytes(other)


def _space_mistakes(space: Any) -> list[str]:
    if not isinstance(space, Mapping) or not space:
        return ["its space is empty"]
    if len(space) > SEARCH_PARAMETERS_MAX:
        return [f"its space has {len(space):,} parameters; {SEARCH_PARAMETERS_MAX} are allowed"]
    found = [
        f"parameter {name!r:.100} is not named like a variable"
        for name in space
        if not isinstance(name, str) or not name.isidentifier() or len(name) > NAME_LENGTH_MAX
    ]
    return found + [mistake for name, source in space.items() for mistake in _source_mistakes(source, f"parameter {name!r:.100}")]


def _source_mistakes(source: Any, what: str) -> list[str]:
    """Return what is wrong with where the values of a parameter come from."""
    kind = source.get("kind") if isinstance(source, Mapping) else None
    wanted = {"float": {"kind", "low", "high", "log"}, "integer": {"kind", "low", "high", "log", "step"}, "choice": {"kind", "choices"}}
    if not isinstance(kind, str) or kind not in wanted or source.keys() != wanted[kind]:
        return [f"{what} is none of uniform(…), log_uniform(…), integers(…) and choices(…)"]
    return _choices_mistakes(source["choices"], what) if kind == "choice" else _range_mistakes(source, what)


def _choices_mistakes(choices: Any, what: str) -> list[str]:
    if not isinstance(choices, list) or not 1 <= len(choices) <= SEARCH_CHOICES_MAX:
        return [f"{what} has not 1 to {SEARCH_CHOICES_MAX:,} choices"]
    if len({canonical_bytes(one) for one in choices}) < len(choices):
        return [f"{what} has the same choice twice"]
    return []


def _range_mistakes(source: Mapping[str, Any], what: str) -> list[str]:
    low, high, whole = source["low"], source["high"], source["kind"] == "integer"
    fits = [_is_whole(one, -_WHOLE_MAX, _WHOLE_MAX) if whole else _is_number(one) for one in (low, high)]
    if not all(fits) or not isinstance(source["log"], bool):
        return [f"{what} does not reach from one {'whole' if whole else 'finite'} number to another"]
    found = [f"{what} reaches from {low} down to {high}"] * (low > high)
    if not whole and not math.isfinite(float(high) - float(low)):
        found.append(f"{what} reaches over more than a floating-point number can hold")
    if source["log"] and low <= 0:
        found.append(f"{what} is searched on a logarithmic scale from {low}, which is not above 0")
    if whole and not _is_whole(source["step"], 1, _WHOLE_MAX):
        found.append(f"{what} has the step {source['step']!r:.80}, not a whole number from 1")
    elif whole and source["log"] and source["step"] != 1:
        found.append(f"{what} has a logarithmic scale and a step; it can have one of them")
    return found


def _choice_mistakes(what: str, given: Any, known: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return what is wrong with a sampler or a pruner."""
    kind = given.get("kind") if isinstance(given, Mapping) else None
    if not isinstance(kind, str) or kind not in known:
        return [f"its {what} is {given!r:.80}, none of {', '.join(sorted(known))}"]
    if given.keys() != {"kind", *known[kind]}:
        return [f"its {what} '{kind}' takes {', '.join(known[kind]) or 'nothing'}"]
    return [
        f"{name} of its {what} is {given[name]!r:.80}, not a whole number from {least}"
        for name, least in known[kind].items()
        if not _is_whole(given[name], least, _COUNT_MAX)
    ]


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
