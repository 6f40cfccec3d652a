"""Settings of the throughput study."""

import dataclasses

import pytest

from mlpgpu.errors import InputError
from mlpgpu.settings.config import Config
from mlpgpu.throughput.study import FLAGS, Study


def test_the_batch_sizes_of_the_study():
    assert Study().batch_sizes == (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


def test_it_goes_where_a_config_goes():
    study = dataclasses.replace(Study(batch_sizes="8,16", hidden="20,10"), batch_size=16)
    assert isinstance(study, Config)
    assert (study.batch_size, study.batch_sizes, study.hidden) == (16, (8, 16), (20, 10))


def test_what_it_does_not_say_is_as_in_a_run():
    own = {"dataset", "validation_fraction", "hidden", "dropout", "input_dropout", "schedule"}
    run, study = Config(), Study()
    for field in dataclasses.fields(Config):
        assert (getattr(run, field.name) != getattr(study, field.name)) <= (field.name in own), field.name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch_sizes": "0"}, "batch_sizes is '0'; allowed: a whole number from 1 up; several with commas"),
        ({"batch_sizes": "none"}, "batch_sizes is 'none'"),
        ({"batch_sizes": ()}, "batch_sizes is ''"),
        ({"batch_sizes": "16,many"}, "batch_sizes is '16,many'"),
        ({"seconds": 0}, "seconds is 0; allowed: a number above 0 to 3600"),
        ({"repeats": 0}, "repeats is 0"),
        ({"backends": "numpi"}, "did you mean numpy?"),
        ({"devices": "gpu"}, "device is 'gpu'; allowed: auto, cpu, cuda"),
    ],
)
def test_bad_values_are_told_in_one_line(given, words):
    with pytest.raises(InputError) as caught:
        Study(**given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "or none" not in str(caught.value)


def test_every_flag_is_a_setting():
    assert FLAGS.keys() >= {"dataset", "hidden", "optimizer", "dtype", "batch_sizes", "devices", "out"}
    for name, setting in FLAGS.items():
        assert getattr(Study(), name) == setting.default
        assert setting.help
