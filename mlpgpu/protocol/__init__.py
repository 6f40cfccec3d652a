"""scikit-learn's protocol: all that is between an estimator and the trainer."""
