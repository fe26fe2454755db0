"""A guard that cannot be evaluated refuses; Cedar alone would skip it and allow."""

from importlib import resources

from gateline.access.model import Permission, Principal, PrincipalKind, Role
from gateline.access.policy import EVALUATION_ERROR, Policies

SCHEMA = resources.files("gateline.access").joinpath("schema.cedarschema").read_text(encoding="utf-8")
OVERFLOWING = """
@id("everybody") permit (principal, action, resource);
@id("guard") @sentence("never") forbid (principal, action == Gateline::Action::"model:approve", resource is Gateline::ModelVersion)
when { 9223372036854775807 + 1 > 0 };
"""


def test_a_forbid_that_fails_to_evaluate_is_a_denial():
    validator = Principal(name="validator", kind=PrincipalKind.PERSON, roles=frozenset({Role.VALIDATOR}))
    decision = Policies(OVERFLOWING, SCHEMA).about(validator, Permission.MODEL_APPROVE, "flight-delay@1", {"gatesPassed": True})
    assert not decision.allowed
    assert decision.reasons == (EVALUATION_ERROR,)
