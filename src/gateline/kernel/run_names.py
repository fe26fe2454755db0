"""Names of tags and files that a run is described by: the SDK writes them, the server and MLflow's stores read them."""

from __future__ import annotations

ENVIRONMENT_FILE = "environment.json"
ENVIRONMENT_TAG = "environment.sha256"
COMMIT_TAG = "mlflow.source.git.commit"
NOTE_TAG = "mlflow.note.content"
DATASET_VERSION_TAG = "gateline.dataset_version"
DATASET_SHA256_TAG = "gateline.sha256"
FEATURE_SET_TAG = "feature_set"
FEATURE_SET_DIGEST_TAG = "feature_set.digest"
FIT_TAG = "feature_fit"
FIT_DIGEST_TAG = "feature_fit.digest"
VERSION_TAG = "gateline.model_version"  # of a version in MLflow's registry: which version of ours it is
LAST_WRITE_TAG = "gateline.last_write"
HEARTBEAT_TAG = "gateline.heartbeat"
PIPELINE_RUN_TAG = "pipeline.run"
PIPELINE_STEP_TAG = "pipeline.step"
