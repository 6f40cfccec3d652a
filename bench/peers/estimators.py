"""``MLPClassifier.fit`` of scikit-learn and of mlpgpu, which draw the same initial weights and order."""

import importlib
import warnings

from sklearn.exceptions import ConvergenceWarning


class ScikitLearn:
    """scikit-learn's classifier with float32 rows and otherwise default settings."""

    library = "sklearn.neural_network"

    def __init__(self, problem):
        self.problem, self.epochs = problem, problem.fit_epochs
        self.kind = importlib.import_module(self.library).MLPClassifier
        # A few epochs are enough to time.
        warnings.simplefilter("ignore", ConvergenceWarning)

    def turn(self, number):
        fitted = self.kind(
            hidden_layer_sizes=self.problem.sizes[1:-1],
            batch_size=self.problem.batch_size,
            max_iter=self.epochs if number else 1,
            random_state=0,
        ).fit(self.problem.x, self.problem.labels)
        return float(fitted.loss_)


class Ours(ScikitLearn):
    """mlpgpu's classifier with the same settings."""

    library = "mlpgpu"
