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
PIPELINE_RUN_TAG = "pipeline.run"  # of a run that a step tracks
PIPELINE_STEP_TAG = "pipeline.step"
WHOLE_RUN_TAG = "gateline.pipeline_run"  # of the run that stands for a whole pipeline run, which those of its trials are nested under
TRIAL_TAG = "gateline.trial"
TRIAL_STATE_TAG = "gateline.trial_state"
TRIAL_FAILURE_TAG = "gateline.failure"
