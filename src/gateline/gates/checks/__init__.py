"""The checks that Gateline ships, by name. A project adds its own to the mapping that `Gates` is given."""

from gateline.gates.checks.champion import check_champion
from gateline.gates.checks.holdout import check_holdout
from gateline.gates.checks.latency import check_latency
from gateline.gates.checks.parity import check_parity
from gateline.gates.checks.schema import check_schema
from gateline.gates.checks.slices import check_slices
from gateline.gates.inputs import Check

CHECKS: dict[str, Check] = {
    "schema": check_schema,
    "holdout": check_holdout,
    "slices": check_slices,
    "latency": check_latency,
    "champion": check_champion,
    "parity": check_parity,
}

__all__ = ["CHECKS", "check_champion", "check_holdout", "check_latency", "check_parity", "check_schema", "check_slices"]
