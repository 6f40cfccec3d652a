"""The application ``mlpgpu``, which gathers the commands."""

from cyclopts import App

from mlpgpu import (
    __version__,
    bench,
    cross_validation,
    evaluate,
    export,
    find_learning_rate,
    info,
    inspection,
    predict,
    train,
)

app = App(
    name="mlpgpu",
    help="Multilayer perceptrons on CPU and GPU.",
    help_format="plaintext",
    version=__version__,
    suppress_keyboard_interrupt=False,
)
app.command(train.app, name="train")
app.command(find_learning_rate.app, name="find-learning-rate")
app.command(cross_validation.app, name="cross-validate")
app.command(predict.app, name="predict")
app.command(evaluate.app, name="evaluate")
app.command(inspection.app, name="inspect")
app.command(export.app, name="export")
app.command(info.app, name="info")
app.command(bench.app, name="bench")
