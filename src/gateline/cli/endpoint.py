"""`gateline endpoint`: create endpoints, see what they serve, ask one for a prediction."""

from __future__ import annotations

import json
from typing import Any

import click

from gateline.cli.output import client, emit, table

_COLUMNS = ("name", "model", "environment", "generation", "latency_ms_p99")


@click.group()
def group() -> None:
    """Endpoints and the predictions they give."""


@group.command()
@click.argument("name")
@click.option("--model", required=True, help="Name of the registered model it will serve.")
@click.option("--feature", "features", multiple=True, required=True, metavar="NAME[:KIND]", help="Kind: numeric (default) or categorical.")
@click.option("--latency-ms-p99", type=float, required=True, help="The 99th percentile of answer time it promises, in milliseconds.")
@click.option("--environment", type=click.Choice(["dev", "staging", "prod"]), default="prod", show_default=True)
@click.pass_context
def create(ctx: click.Context, name: str, model: str, features: tuple[str, ...], latency_ms_p99: float, environment: str) -> None:
    """Create the endpoint NAME."""
    from gateline.sdk.serving import create_endpoint

    kinds = {feature: kind or "numeric" for feature, _, kind in (one.partition(":") for one in features)}
    made = create_endpoint(client(ctx), name, model=model, features=kinds, latency_ms_p99=latency_ms_p99, environment=environment)
    emit(ctx, made, f"Endpoint {name} takes {len(kinds)} features. Release a version to it: gateline rollout start {model}@1 {name}")


@group.command("list")
@click.pass_context
def list_endpoints(ctx: click.Context) -> None:
    """List endpoints."""
    from gateline.sdk.serving import endpoints

    found = endpoints(client(ctx))
    emit(ctx, found, table(found, _COLUMNS))


@group.command()
@click.argument("name")
@click.pass_context
def show(ctx: click.Context, name: str) -> None:
    """Show what the endpoint NAME serves, and how much it has recorded."""
    from gateline.sdk.serving import endpoint

    found = endpoint(client(ctx), name)
    emit(ctx, found, lambda: _story(found))


@group.command()
@click.argument("prediction_id")
@click.pass_context
def prediction(ctx: click.Context, prediction_id: str) -> None:
    """Show one recorded prediction."""
    from gateline.sdk.serving import prediction as find

    found = find(client(ctx), prediction_id)
    emit(ctx, found, json.dumps(found, indent=2, ensure_ascii=False))


@group.command()
@click.argument("name")
@click.argument("row")
@click.option("--address", default="http://127.0.0.1:8201", show_default=True, help="Address of the inference workers.")
@click.option("--entity", default="", help="Keeps its arm over requests.")
@click.pass_context
def predict(ctx: click.Context, name: str, row: str, address: str, entity: str) -> None:
    """Ask endpoint NAME for the prediction of ROW, a JSON object of features."""
    from dataclasses import asdict

    from gateline.kernel.errors import InvalidInput
    from gateline.sdk.serving import Predictor

    try:
        features = json.loads(row)
    except ValueError as error:
        raise InvalidInput(f"ROW is no JSON: {error}.") from error
    if not isinstance(features, dict):
        raise InvalidInput("ROW is no JSON object.", next_step='Write it as \'{"distance": 500, "carrier": "AA"}\'.')
    with Predictor(address, name, client(ctx).token) as predictor:
        (answer,) = predictor.predict([features], entity=entity)
    emit(ctx, asdict(answer), f"{answer.prediction:.6f} by {answer.version} ({answer.arm}), recorded as {answer.prediction_id}")


def _story(found: dict[str, Any]) -> str:
    """Return an endpoint as text."""
    lines = [f"{found['name']} serves {found['model']} in {found['environment']}, p99 at most {found['latency_ms_p99']:g} ms"]
    route = found["route"]
    if route is None:
        lines.append("no version is released to it")
    else:
        arms = ", ".join(f"{arm['name']} {arm['version']} {arm['weight']:.0%}" for arm in route["arms"])
        shadow = "".join(f", shadow {arm['name']} {arm['version']}" for arm in route["shadow"])
        lines.append(f"generation {route['generation']}: {arms}{shadow}")
    lines += [f"worker {one['name']}: generation {one['generation']} {one['error']}".rstrip() for one in found["workers"]]
    lines.append(f"{found['records']:,} records in {found['segments']:,} segments")
    return "\n".join(lines)
