"""A program that knows MLflow and nothing of Gateline: it imports the stock client and does what it is told on standard input.

It is started early because that import takes seconds. Each line in is a JSON object with `uri`, `token`, `model`, `version`, `alias` and
`move` (false only reads); each line out is a JSON object with what happened. The first line out says that it is ready.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> int:
    """Answer orders until standard input ends."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # noqa: TID251 - the stock client is configured by its environment
    os.environ["DO_NOT_TRACK"] = "true"  # noqa: TID251
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "2"  # noqa: TID251
    import mlflow
    from mlflow.exceptions import MlflowException

    _say({"ready": True, "mlflow": mlflow.__version__})
    for line in sys.stdin:
        order = json.loads(line)
        os.environ["MLFLOW_TRACKING_TOKEN"] = order["token"]  # noqa: TID251 - so does a user of the stock client
        client = mlflow.MlflowClient(tracking_uri=order["uri"], registry_uri=order["uri"])
        answer: dict[str, object] = {"read": False, "moved": False, "status": 200, "message": ""}
        try:
            found = client.search_model_versions(f"name = '{order['model']}'")
            answer |= {"read": True, "versions": len(found)}
            if order["move"]:
                client.set_registered_model_alias(order["model"], order["alias"], order["version"])
                answer["moved"] = True
        except MlflowException as error:
            answer |= {"status": error.get_http_status_code(), "code": error.error_code, "message": error.message}
        _say(answer)
    return 0


def _say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
