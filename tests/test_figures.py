"""Figures as text."""

import math

import pytest

from mlpgpu.figures import in_digits, in_words


@pytest.mark.parametrize(
    ("figure", "digits", "words"),
    [
        (None, "nan", "nan"),
        (math.nan, "nan", "nan"),
        (-math.inf, "-inf", "-inf"),
        (0, "0", "0.0000"),
        (12.34567, "12.35", "12.3457"),
        (0.000123, "0.000123", "0.000123"),
        (-45678.9, "-45,679", "-45,679"),
        (1234567.8, "1,234,568", "1,234,568"),
        (2.5e12, "2.5e+12", "2.5e+12"),
    ],
)
def test_figures_of_every_magnitude(figure, digits, words):
    assert (in_digits(figure), in_words(figure)) == (digits, words)
