"""All five experiments, one after the other."""

from scripts.experiments import fashion_mnist, iris_and_mnist, one_variable, pytorch_mnist, two_layers
from scripts.experiments.running import main

if __name__ == "__main__":
    modules = iris_and_mnist, one_variable, two_layers, pytorch_mnist, fashion_mnist
    main(*(module.EXPERIMENT for module in modules), description=__doc__)
