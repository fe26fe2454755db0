"""Runs in Feast's own environment: apply a repository and look up the features of requests.

Arguments: folder of the repository, Parquet file of the requests, name of the feature service, Parquet file for the answer.
"""

from __future__ import annotations

import os
import sys

os.environ["FEAST_USAGE"] = "False"

import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView

repository, requests, service, answer = sys.argv[1:]
os.chdir(repository)
sys.path.insert(0, repository)
import features  # noqa: E402  the repository's own module

store = FeatureStore(repo_path=repository)
store.apply([one for one in vars(features).values() if isinstance(one, Entity | FeatureView | FeatureService)])
found = store.get_historical_features(entity_df=pd.read_parquet(requests), features=store.get_feature_service(service)).to_df()
found.to_parquet(answer, coerce_timestamps="us", allow_truncated_timestamps=True)
