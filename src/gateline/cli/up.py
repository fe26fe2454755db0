"""`gateline up`: the server."""

from __future__ import annotations

import click

from gateline.cli.output import emit, progress, settings


@click.command("up")
@click.option("--host", help="Address to listen on. [default: $GATELINE_HOST or 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port of the control plane; 0 takes a free one. [default: $GATELINE_PORT or 8200]"
)
@click.option(
    "--serving-port", type=click.IntRange(0, 65535), help="Port of the inference workers. [default: $GATELINE_SERVING_PORT or 8201]"
)
@click.option("--workers", type=click.IntRange(0, 256), help="Inference worker processes; 0 starts none. [default: $GATELINE_WORKERS or 1]")
@click.option("--no-mlflow", is_flag=True, help="Do not load the embedded MLflow.")
@click.pass_context
def up(ctx: click.Context, host: str | None, port: int | None, serving_port: int | None, workers: int | None, no_mlflow: bool) -> None:
    """Start the server, and run until Ctrl-C or SIGTERM."""
    from gateline.local import run_server

    chosen = settings(ctx, host=host, port=port, serving_port=serving_port, workers=workers, mlflow=False if no_mlflow else None)

    def started(url: str) -> None:
        home = chosen.home.absolute()
        lines = [f"Gateline serves {url}  (home {home}; owner's token in {home / 'credentials.json'})"]
        if chosen.mlflow:
            lines.append(f"MLflow is loading and will answer at {url}/mlflow")
        lines.append("Stop with Ctrl-C.")
        emit(ctx, {"url": url, "home": str(home)}, "\n".join(lines))

    run_server(chosen, started)
    progress("Gateline has stopped.")
