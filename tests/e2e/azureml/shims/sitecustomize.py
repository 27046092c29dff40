"""Where scikit-learn itself has moved since the scripts were written. On the path of a scoring process only."""

import sys

import joblib

sys.modules["sklearn.externals.joblib"] = joblib
