"""Statistics of gates, monitors and canaries: pure functions on NumPy arrays.

Nothing here reads a clock, a file or a global generator. Whatever draws random numbers takes a
seed and gives the same answer for the same seed.
"""

from gateline.stats.detector import DetectorState, detector_start, detector_update
from gateline.stats.distance import (
    Distance,
    chi2_homogeneity_from_counts,
    js_distance_from_counts,
    js_divergence_from_counts,
    ks_from_counts,
    ks_two_sample,
    psi_from_counts,
    total_variation_from_counts,
)
from gateline.stats.edges import Edges, categorical_edges, numeric_edges
from gateline.stats.eprocess import EState, log_e, sample_ratio_p, start, update, update_many
from gateline.stats.intervals import Interval, resample_statistic, resample_units, units_needed
from gateline.stats.losses import (
    auc,
    auc_interval,
    brier_rows,
    calibration_gap,
    log_loss_rows,
)
from gateline.stats.multiple import benjamini_hochberg, holm
from gateline.stats.profile import (
    Profile,
    compare,
    null_share,
    profile_categorical,
    profile_numeric,
)

__all__ = [
    "DetectorState",
    "Distance",
    "EState",
    "Edges",
    "Interval",
    "Profile",
    "auc",
    "auc_interval",
    "benjamini_hochberg",
    "brier_rows",
    "calibration_gap",
    "categorical_edges",
    "chi2_homogeneity_from_counts",
    "compare",
    "detector_start",
    "detector_update",
    "holm",
    "js_distance_from_counts",
    "js_divergence_from_counts",
    "ks_from_counts",
    "ks_two_sample",
    "log_e",
    "log_loss_rows",
    "null_share",
    "numeric_edges",
    "profile_categorical",
    "profile_numeric",
    "psi_from_counts",
    "resample_statistic",
    "resample_units",
    "sample_ratio_p",
    "start",
    "total_variation_from_counts",
    "units_needed",
    "update",
    "update_many",
]
