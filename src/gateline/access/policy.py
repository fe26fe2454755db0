"""The Cedar policies, loaded once and asked for every decision.

Three traps of Cedar are closed here: a `forbid` whose condition fails to evaluate is skipped by Cedar, so any diagnostic error counts as
a denial; a request that cannot be evaluated answers `NoDecision`, which is a denial too; and a policy that names an attribute wrongly is
found when it is loaded, by validation against the schema.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

import cedarpy

from gateline.access.model import SERVICE_ROLES, Decision, Permission, Principal, PrincipalKind, Role
from gateline.kernel.canonical import digest
from gateline.kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

EVALUATION_ERROR = "evaluation-error"
NO_PERMIT = "no-permit"

_FACT_KINDS = {
    Permission.MODEL_APPROVE: "ModelVersion",
    Permission.MODEL_RELEASE: "ModelVersion",
    Permission.CONTRACT_REVIEW: "DatasetContract",
    Permission.PIPELINE_APPROVE: "PipelineStep",
}
_PRINCIPAL_FACTS = frozenset({"author", "contributors"})
_DOORS_MAX = 4096


class Policies:
    """A validated set of Cedar policies.

    Args:
        text: The policies, each with a unique `@id`; a `forbid` also carries a `@sentence`.
        schema: The Cedar schema they are validated against.

    Raises:
        ConfigurationError: the text does not parse, does not validate, or a policy lacks its annotations.
    """

    def __init__(self, text: str, schema: str) -> None:
        try:
            self._schema = cedarpy.Schema.from_str(schema)
            self._policies = cedarpy.PolicySet.from_str(text)
        except ValueError as error:
            raise _unusable(str(error)) from error
        outcome = cedarpy.validate_policies(text, self._schema)
        if not outcome.validation_passed:
            raise _unusable("; ".join(str(one.error) for one in outcome.errors))
        self._sentences = self._read_annotations()
        self.digest = digest("access.policies", {"policies": text, "schema": schema})
        self._doors: dict[tuple[Principal, Permission], Decision] = {}
        self._carriers: dict[Permission, tuple[str, ...]] = {}
        for permission in Permission:
            self._carriers[permission] = self._roles_with(permission)

    @classmethod
    def shipped(cls) -> Policies:
        """Load the policies that come with Gateline (`policies.cedar`)."""
        folder = resources.files("gateline.access")
        return cls(
            folder.joinpath("policies.cedar").read_text(encoding="utf-8"), folder.joinpath("schema.cedarschema").read_text(encoding="utf-8")
        )

    def at_door(self, principal: Principal, permission: Permission) -> Decision:
        """Decide whether a role of the principal carries the permission at all, whatever the record.

        The answer depends on nothing but the principal and these policies, so it is remembered.
        """
        known = self._doors.get((principal, permission))
        if known is None:
            if len(self._doors) >= _DOORS_MAX:
                self._doors.clear()
            known = self._doors[principal, permission] = self._ask(principal, permission, "Door", "door", {})
        return known

    def about(self, principal: Principal, permission: Permission, resource: str, facts: Mapping[str, Any]) -> Decision:
        """Decide about one record, given the facts of it. A fact the policies need and do not get counts against the caller."""
        return self._ask(principal, permission, _FACT_KINDS.get(permission, "Record"), resource, facts)

    def carriers(self, permission: Permission) -> tuple[str, ...]:
        """Return the roles that carry the permission, in alphabetical order."""
        return self._carriers.get(permission, ())

    def _ask(self, principal: Principal, permission: Permission, kind: str, resource: str, facts: Mapping[str, Any]) -> Decision:
        request = {
            "principal": _uid("Principal", principal.name),
            "action": _uid("Action", permission.value),
            "resource": _uid(kind, resource),
            "context": {},
        }
        roles = [_uid("Role", role) for role in sorted(principal.roles)]
        attributes = {name: _attribute(name, value) for name, value in facts.items()}
        entities: list[dict[str, Any]] = [
            {"uid": request["principal"], "attrs": {"kind": principal.kind.value}, "parents": roles},
            {"uid": request["resource"], "attrs": attributes, "parents": []},
            *({"uid": role, "attrs": {}, "parents": []} for role in roles),
        ]
        try:
            answer = cedarpy.is_authorized(request, self._policies, entities, self._schema)
        except (TypeError, ValueError) as error:  # facts that JSON cannot carry
            return self._explain(principal, permission, resource, EVALUATION_ERROR, detail=str(error))
        if answer.diagnostics.errors or answer.decision is cedarpy.Decision.NoDecision:
            return self._explain(principal, permission, resource, EVALUATION_ERROR, detail="; ".join(answer.diagnostics.errors))
        names = answer.diagnostics.id_annotations_by_reason
        reasons = tuple(sorted(names[reason] for reason in answer.diagnostics.reasons))
        if answer.allowed:
            return Decision(allowed=True, reasons=reasons, sentence=f"{principal.name} may {permission} by policy {', '.join(reasons)}.")
        return self._explain(principal, permission, resource, *(reasons or (NO_PERMIT,)))

    def _explain(self, principal: Principal, permission: Permission, resource: str, *reasons: str, detail: str = "") -> Decision:
        """Return the denial with its reasons in plain words."""
        subject = f"{principal.name} may not {permission}" + ("" if resource in {"", "door"} else f" on {resource}")
        if reasons == (NO_PERMIT,):
            held = ", ".join(sorted(principal.roles)) or "none"
            why = f"no role of {principal.name} ({held}) carries it; it takes one of: {', '.join(self.carriers(permission)) or 'none'}"
        elif reasons == (EVALUATION_ERROR,):
            why = f"the policies could not be evaluated, which counts as no: {detail[-300:]}"
        else:
            why = "; ".join(self._sentences[reason] for reason in reasons)
        return Decision(allowed=False, reasons=reasons, sentence=f"{subject}: {why} (policy {', '.join(reasons)}).")

    def _read_annotations(self) -> dict[str, str]:
        """Return the sentence of each policy by id, and refuse policies that cannot be named or explained."""
        sentences: dict[str, str] = {}
        for policy in self._policies.to_pst().static_policies.values():
            name, sentence = policy.annotations.get("id") or "", policy.annotations.get("sentence") or ""
            if not name or name in sentences:
                raise _unusable(f"policy '{name or policy.id}' has no @id, or shares it with another")
            if policy.effect == "forbid" and not sentence:
                raise _unusable(f"the forbid '{name}' has no @sentence to show to whom it refuses")
            sentences[name] = sentence
        return sentences

    def _roles_with(self, permission: Permission) -> tuple[str, ...]:
        found = []
        for role in sorted(Role):
            kind = PrincipalKind.SERVICE if role in SERVICE_ROLES else PrincipalKind.PERSON
            if self.at_door(Principal(name="anyone", kind=kind, roles=frozenset({role})), permission).allowed:
                found.append(role.value)
        return tuple(found)


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": f"Gateline::{kind}", "id": name}


def _attribute(name: str, value: Any) -> Any:
    """Encode a fact for Cedar: names of principals become references, lists become sets."""
    if name in _PRINCIPAL_FACTS and isinstance(value, str):
        return {"__entity": _uid("Principal", value)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_attribute(name, one) for one in sorted(value)]
    return value


def _unusable(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The access policies cannot be used: {why}.", next_step="Nothing is allowed until they are repaired; reinstall Gateline."
    )
