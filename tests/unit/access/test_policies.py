"""The shipped policies keep their promises, and each of them is needed for one."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateline.access import Permission, Principal, PrincipalKind, Role
from gateline.access.model import SERVICE_ROLES
from gateline.access.policy import EVALUATION_ERROR, NO_PERMIT, Policies
from gateline.kernel.errors import ConfigurationError

P = Permission
READS = {
    P.DATASET_READ, P.FEATURE_READ, P.RUN_READ, P.GATE_READ, P.MODEL_READ, P.ROLLOUT_READ, P.ENDPOINT_READ, P.MONITOR_READ,
    P.PIPELINE_READ, P.LEDGER_READ, P.MLFLOW_READ, P.SYSTEM_READ,
}  # fmt: skip
BUILDS = {
    P.DATASET_WRITE,
    P.DATASET_FETCH,
    P.DATASET_PIN,
    P.FEATURE_WRITE,
    P.RUN_WRITE,
    P.GATE_RUN,
    P.MODEL_REGISTER,
    P.PIPELINE_RUN,
    P.MLFLOW_WRITE,
}
EXPECTED = {
    Role.VIEWER: READS,
    Role.AUDITOR: READS | {P.PREDICTION_READ},
    Role.DEVELOPER: READS | BUILDS | {P.PIPELINE_APPROVE, P.PIPELINE_WORK, P.PREDICTION_REQUEST},
    Role.VALIDATOR: READS | {P.GATE_RUN, P.MODEL_APPROVE, P.CONTRACT_REVIEW, P.PIPELINE_APPROVE},
    Role.OPERATOR: READS
    | {
        P.DATASET_PIN,
        P.DATASET_VACUUM,
        P.MODEL_RELEASE,
        P.PIPELINE_APPROVE,
        P.ROLLOUT_CONTROL,
        P.ENDPOINT_WRITE,
        P.LABEL_WRITE,
        P.MONITOR_WRITE,
        P.PREDICTION_REQUEST,
    },
    Role.ADMIN: READS | {P.DATASET_PIN, P.ACCESS_ADMIN, P.SYSTEM_ADMIN},
    Role.BUSINESS_OWNER: READS | {P.LABEL_WRITE},
    Role.RUNNER: READS | BUILDS | {P.PIPELINE_WORK},
    Role.REPLAYER: {P.PREDICTION_REPLAY, P.PREDICTION_REQUEST, P.LABEL_WRITE, P.ENDPOINT_READ},
    Role.WORKER: {P.ENDPOINT_READ, P.MODEL_READ},
}
GOOD = {"author": "author", "contributors": ["author", "contributor"], "gatesPassed": True, "state": "candidate"}

FOLDER = resources.files("gateline.access")
TEXT = FOLDER.joinpath("policies.cedar").read_text(encoding="utf-8")
SCHEMA = FOLDER.joinpath("schema.cedarschema").read_text(encoding="utf-8")
POLICY = re.compile(r'@id\("([^"]+)"\)\n(?:@sentence\("[^"]*"\)\n)?(?:permit|forbid) \(.*?\)(?:\nunless \{.*?\})?;\n', re.DOTALL)
IDS = [found.group(1) for found in POLICY.finditer(TEXT)]

shipped = Policies(TEXT, SCHEMA)


def person(name: str, *roles: Role) -> Principal:
    return Principal(name=name, kind=PrincipalKind.PERSON, roles=frozenset(roles))


def service(name: str, *roles: Role) -> Principal:
    return Principal(name=name, kind=PrincipalKind.SERVICE, roles=frozenset(roles))


def holder(role: Role) -> Principal:
    return service("somebody", role) if role in SERVICE_ROLES else person("somebody", role)


def broken_promises(policies: Policies) -> list[str]:
    """Return every promise of the access rules that these policies do not keep."""
    found = []
    for role, wanted in EXPECTED.items():
        allowed = {permission for permission in Permission if policies.at_door(holder(role), permission).allowed}
        found += [f"{role}: {permission}" for permission in sorted(allowed ^ wanted)]

    def refuses(what: str, principal: Principal, permission: Permission, facts: dict[str, object]) -> None:
        if policies.about(principal, permission, "flight-delay@1", facts).allowed:
            found.append(what)

    both = person("author", Role.DEVELOPER, Role.VALIDATOR)
    refuses("author approves", both, P.MODEL_APPROVE, {**GOOD, "contributors": []})
    refuses("contributor approves", person("contributor", Role.VALIDATOR), P.MODEL_APPROVE, GOOD)
    validator = person("validator", Role.VALIDATOR)
    refuses("gates did not pass", validator, P.MODEL_APPROVE, {**GOOD, "gatesPassed": False})
    refuses("not a candidate", validator, P.MODEL_APPROVE, {**GOOD, "state": "production"})
    refuses("a service approves", service("robot", Role.VALIDATOR), P.MODEL_APPROVE, GOOD)
    refuses("an administrator approves", person("admin", Role.ADMIN, Role.VALIDATOR), P.MODEL_APPROVE, GOOD)
    for fact in GOOD:
        refuses(f"{fact} is not known", validator, P.MODEL_APPROVE, {name: value for name, value in GOOD.items() if name != fact})
    operator = person("operator", Role.OPERATOR)
    refuses("released unapproved", operator, P.MODEL_RELEASE, {"approved": False, "gatesPassed": True})
    refuses("released with failed gates", operator, P.MODEL_RELEASE, {"approved": True, "gatesPassed": False})
    refuses("a person replays", person("somebody", Role.REPLAYER), P.PREDICTION_REPLAY, {})
    refuses("author reviews a contract", both, P.CONTRACT_REVIEW, {"author": "author"})
    refuses("author of a contract is not known", validator, P.CONTRACT_REVIEW, {})
    refuses("a service reviews a contract", service("robot", Role.VALIDATOR), P.CONTRACT_REVIEW, {"author": "author"})
    refuses("an administrator reviews", person("admin", Role.ADMIN, Role.VALIDATOR), P.CONTRACT_REVIEW, {"author": "author"})
    step = {"author": "author", "contributors": ["declarer"], "namedRole": True}
    refuses("who asked for a run approves its step", person("author", Role.DEVELOPER), P.PIPELINE_APPROVE, step)
    refuses("who declared the schedule of a run approves its step", person("declarer", Role.DEVELOPER), P.PIPELINE_APPROVE, step)
    refuses("a step that names another role is approved", validator, P.PIPELINE_APPROVE, {**step, "namedRole": False})
    refuses("a service approves a step", service("robot", Role.OPERATOR), P.PIPELINE_APPROVE, step)
    refuses("an administrator approves a step", person("admin", Role.ADMIN, Role.OPERATOR), P.PIPELINE_APPROVE, step)
    for fact in step:
        refuses(f"{fact} of a step is not known", validator, P.PIPELINE_APPROVE, {one: step[one] for one in step if one != fact})
    if not policies.about(validator, P.PIPELINE_APPROVE, "prun_1/release", step).allowed:
        found.append("a validator cannot approve a step")
    if not policies.about(validator, P.CONTRACT_REVIEW, "flights/contract@1", {"author": "author"}).allowed:
        found.append("a validator cannot review a contract")
    if not policies.about(validator, P.MODEL_APPROVE, "flight-delay@1", GOOD).allowed:
        found.append("a validator cannot approve")
    if not policies.about(operator, P.MODEL_RELEASE, "flight-delay@1", {"approved": True, "gatesPassed": True}).allowed:
        found.append("an operator cannot release")
    return found


def test_the_shipped_policies_keep_every_promise() -> None:
    assert broken_promises(shipped) == []


def test_every_policy_of_the_file_is_found_by_this_test() -> None:
    assert len(IDS) == TEXT.count("@id(") == len(set(IDS))


@pytest.mark.parametrize("policy", IDS)
def test_without_any_one_policy_a_promise_is_broken(policy: str) -> None:
    mutated = POLICY.sub(lambda found: "" if found.group(1) == policy else found.group(0), TEXT)
    assert broken_promises(Policies(mutated, SCHEMA)) != []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("resource.author != principal && ", ""),
        ("resource has author && resource.author != principal }", "resource has author }"),
        (" &&\n  resource.author != principal && !(resource.contributors.contains(principal))", ""),
        ("resource has gatesPassed && resource.gatesPassed", "resource has gatesPassed"),
        ('resource.state == "candidate"', 'resource.state != "retired"'),
        ("resource has approved && resource.approved", "true"),
        ('principal.kind == "person"', "true"),
    ],
)
def test_a_weakened_guard_breaks_a_promise(before: str, after: str) -> None:
    assert before in TEXT
    assert broken_promises(Policies(TEXT.replace(before, after), SCHEMA)) != []


def test_the_denial_names_the_policy_and_its_reason_in_plain_words() -> None:
    decision = shipped.about(person("author", Role.VALIDATOR), P.MODEL_APPROVE, "flight-delay@1", GOOD)
    assert decision.reasons == ("separation-of-duties",)
    assert decision.sentence == (
        "author may not model:approve on flight-delay@1: the author of a model version, or a contributor to its data, features, code "
        "or runs, may not approve it (policy separation-of-duties)."
    )


def test_a_missing_role_is_named_with_the_roles_that_would_do() -> None:
    decision = shipped.at_door(person("reader", Role.VIEWER), P.DATASET_WRITE)
    assert decision.reasons == (NO_PERMIT,)
    assert "no role of reader (viewer) carries it; it takes one of: developer, runner" in decision.sentence


@pytest.mark.parametrize(
    "facts", [{**GOOD, "gatesPassed": "yes"}, {**GOOD, "colour": "red"}, {**GOOD, "contributors": [object()]}, {**GOOD, "author": None}]
)
def test_facts_that_cannot_be_evaluated_are_a_denial(facts: dict[str, object]) -> None:
    decision = shipped.about(person("validator", Role.VALIDATOR), P.MODEL_APPROVE, "flight-delay@1", facts)
    assert not decision.allowed
    assert decision.reasons == (EVALUATION_ERROR,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("permit (principal, action, resource);", "no @id"),
        ('@id("a")\npermit (principal, action, resource);\n@id("a")\npermit (principal, action, resource);', "shares it"),
        ('@id("a")\nforbid (principal, action, resource);', "no @sentence"),
        ('@id("a")\npermit (principal, action, resource) when { principal.colour == "red" };', "colour"),
        ('@id("a")\npermit (principal, action == Gateline::Action::"fly", resource);', "fly"),
        ("permit (", "cannot be used"),
    ],
)
def test_policies_that_cannot_work_are_refused_when_they_are_loaded(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Policies(text, SCHEMA)


names = st.sampled_from(["author", "contributor", "validator", 'Ünïcode "quoted" \\ name\n'])
principals = st.builds(
    Principal, name=names, kind=st.sampled_from(PrincipalKind), roles=st.frozensets(st.sampled_from(Role), max_size=len(Role))
)


@given(
    principal=principals, author=names, contributors=st.lists(names), passed=st.booleans(), state=st.sampled_from(["candidate", "retired"])
)
def test_approval_needs_role_person_independence_gates_and_candidate(
    principal: Principal, author: str, contributors: list[str], passed: bool, state: str
) -> None:
    facts = {"author": author, "contributors": contributors, "gatesPassed": passed, "state": state}
    expected = (
        Role.VALIDATOR in principal.roles
        and Role.ADMIN not in principal.roles
        and principal.kind is PrincipalKind.PERSON
        and principal.name not in {author, *contributors}
        and passed
        and state == "candidate"
    )
    assert shipped.about(principal, P.MODEL_APPROVE, "flight-delay@1", facts).allowed == expected


@given(principal=principals, permission=st.sampled_from(Permission))
def test_roles_add_up_and_guards_only_take_away(principal: Principal, permission: Permission) -> None:
    carried = any(permission in EXPECTED[role] for role in principal.roles)
    allowed = shipped.at_door(principal, permission).allowed
    guarded = {P.MODEL_APPROVE, P.CONTRACT_REVIEW, P.PIPELINE_APPROVE, P.PREDICTION_REPLAY}
    assert allowed == carried if permission not in guarded else allowed <= carried


@given(principal=principals, facts=st.dictionaries(st.sampled_from([*GOOD, "approved", "colour"]), st.none() | st.booleans() | st.text()))
def test_no_choice_of_facts_lets_a_release_through_unless_approved_and_passed(principal: Principal, facts: dict[str, object]) -> None:
    decision = shipped.about(principal, P.MODEL_RELEASE, "flight-delay@1", facts)
    if decision.allowed:
        assert facts["approved"] is True
        assert facts["gatesPassed"] is True
        assert Role.OPERATOR in principal.roles


def test_the_digest_changes_with_the_text() -> None:
    assert shipped.digest == Policies(TEXT, SCHEMA).digest != Policies(TEXT + "\n", SCHEMA).digest
