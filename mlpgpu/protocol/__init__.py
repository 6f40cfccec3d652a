"""scikit-learn's protocol: the layer between an estimator and the trainer."""
