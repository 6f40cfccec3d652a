"""MLPClassifier and MLPRegressor: scikit-learn's protocol on top of the trainer."""

from mlpgpu.estimators.classifier import MLPClassifier
from mlpgpu.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
