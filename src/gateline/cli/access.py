"""`gateline principal` and `gateline token`: who may use Gateline."""

from __future__ import annotations

import click

from gateline.access.model import PrincipalKind, Role
from gateline.cli.output import client, emit, progress, table
from gateline.kernel.clock import iso


@click.group("principal")
def principal_group() -> None:
    """People and services that may use Gateline."""


@principal_group.command("create")
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice([role.value for role in Role]), help="May be repeated.")
@click.option("--service", is_flag=True, help="A program and not a person.")
@click.pass_context
def create_principal(ctx: click.Context, name: str, roles: tuple[str, ...], service: bool) -> None:
    """Create a person, or a service."""
    kind = PrincipalKind.SERVICE if service else PrincipalKind.PERSON
    created = client(ctx).post("/principals", json={"name": name, "roles": list(roles), "kind": kind.value})
    emit(ctx, created, lambda: f"Created {created['kind']} {created['name']} with roles {', '.join(created['roles'])}.")


@principal_group.command("list")
@click.pass_context
def list_principals(ctx: click.Context) -> None:
    """List all principals."""
    found = client(ctx).get("/principals")
    emit(ctx, found, lambda: table(found, ["name", "kind", "roles"]))


@click.group("token")
def token_group() -> None:
    """API tokens of principals."""


@token_group.command("create")
@click.argument("principal")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Days after which it expires. [default: never]")
@click.pass_context
def create_token(ctx: click.Context, principal: str, days: float | None) -> None:
    """Create a token and show its secret, once."""
    from gateline.kernel.clock import DAY, SystemClock

    expires = None if days is None else iso(SystemClock().now() + round(days * DAY))
    created = client(ctx).post("/tokens", json={"principal": principal, "expires_at": expires})
    progress(f"Token {created['id']} of {principal}, {'without end' if expires is None else 'until ' + expires}. It is not shown again:")
    emit(ctx, created, created["token"])


@token_group.command("list")
@click.argument("principal", default="")
@click.pass_context
def list_tokens(ctx: click.Context, principal: str) -> None:
    """List tokens, without their secrets."""
    found = client(ctx).get("/tokens", params={"principal": principal})
    emit(ctx, found, lambda: table(found, ["id", "principal", "created_at", "expires_at", "revoked_at"]))


@token_group.command("revoke")
@click.argument("token_id")
@click.pass_context
def revoke_token(ctx: click.Context, token_id: str) -> None:
    """Make a token worthless, for good."""
    revoked = client(ctx).post(f"/tokens/{token_id}/revoke")
    emit(ctx, revoked, lambda: f"Token {revoked['id']} of {revoked['principal']} no longer works.")
