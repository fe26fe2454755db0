"""The control plane over HTTP: REST under /api/v1, the embedded MLflow under /mlflow."""
