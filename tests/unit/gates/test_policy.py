"""The project's policy."""

from __future__ import annotations

import dataclasses

import pytest

from gateline.gates import Policy, parse_policy, parse_policy_toml
from gateline.kernel.errors import InvalidInput

TEXT = """
[gates]
label = "late"
unit = "day"
level = 0.9
[gates.holdout]
improvement_min = 0.01
[gates.slices]
columns = ["carrier", "origin"]
"""


def test_a_toml_table_becomes_a_policy_with_defaults():
    policy = parse_policy_toml(TEXT)
    assert (policy.label, policy.noun, policy.level, policy.slices.columns) == ("late", "day", 0.9, ("carrier", "origin"))
    assert policy.latency == Policy().latency


def test_what_is_written_out_reads_back_to_the_same_policy():
    policy = parse_policy_toml(TEXT)
    assert parse_policy(policy.as_dict()) == policy
    assert parse_policy(policy.as_dict()).digest == policy.digest


def test_every_value_moves_the_digest():
    policy = parse_policy_toml(TEXT)
    edited = dataclasses.replace(policy, holdout=dataclasses.replace(policy.holdout, improvement_min=0.009))
    assert edited.digest != policy.digest


def test_all_mistakes_are_named_at_once():
    with pytest.raises(InvalidInput) as caught:
        parse_policy(
            {
                "level": 2, "seeds": 1, "holdout": {"improvement_min": "high", "units_min": True}, "slices": [],
                "latency": {"requests": 3.5},
            }
        )  # fmt: skip
    mistakes = caught.value.facts["mistakes"]
    assert len(mistakes) == 6
    expected = ("gates.level", "gates.seeds is not known", "improvement_min", "units_min", "gates.slices must be a table", "whole number")
    for words in expected:
        assert words in str(caught.value)


@pytest.mark.parametrize("document", [{"suite": []}, {"suite": ["schema", "schema"]}, {"level": float("nan")}, {"label": 3}])
def test_single_mistakes_are_refused(document):
    with pytest.raises(InvalidInput):
        parse_policy(document)


def test_a_file_that_is_no_toml_or_has_no_table_is_refused():
    with pytest.raises(InvalidInput, match="not TOML"):
        parse_policy_toml("[gates")
    with pytest.raises(InvalidInput, match=r"no \[gates\] table"):
        parse_policy_toml("a = 1")
