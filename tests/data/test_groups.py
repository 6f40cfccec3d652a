"""Rows that belong together are divided in whole groups, once or in folds."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from mlpgpu import InputError
from mlpgpu.data import split
from mlpgpu.data.split import hold_out, in_folds


def random_table(seed):
    """Return groups of sizes that vary, and classes that depend on the groups in some tables."""
    rng = np.random.default_rng(seed)
    sizes = rng.zipf(1.8, rng.integers(6, 60)).clip(1, 40)
    groups = np.repeat(rng.permutation(1000)[: len(sizes)], sizes)
    labels = (
        rng.integers(0, 3, len(groups))
        if seed % 2
        else rng.integers(0, 3, len(sizes))[np.unique(groups, return_inverse=True)[1]]
    )
    order = rng.permutation(len(groups))
    return groups[order], labels[order]


@pytest.mark.parametrize("stratified", [True, False])
def test_no_group_is_on_two_sides(stratified):
    for seed in range(40):
        groups, labels = random_table(seed)
        rows = np.arange(len(groups)) + 7
        given = labels if stratified else None
        kept, held, note = hold_out(rows, given, 0.25, seed, "test_fraction", groups)
        assert sorted([*kept, *held]) == rows.tolist()
        assert len(kept)
        assert len(held)
        of_held = np.unique(groups[held - 7])
        assert not np.isin(groups[kept - 7], of_held).any()
        found = f"{len(of_held)} of {len(np.unique(groups))} groups, with {len(held) / len(rows):.1%} of the rows"
        assert note == f"test_fraction: {found}"


def test_the_share_of_rows_is_near_the_fraction_and_those_of_classes_near_each_other():
    rng = np.random.default_rng(0)
    many = rng.integers(0, 300, 3000)
    # One group has half of the rows.
    half = np.concatenate([np.full(1000, 50), np.arange(1000) // 20])
    one_class = np.arange(3000) // 10
    for groups, labels in (
        (many, rng.choice(3, 3000, p=[0.7, 0.25, 0.05])),
        (half, rng.integers(0, 2, 2000)),
        (one_class, (one_class % 5 == 0).astype(int)),
    ):
        for fraction in (0.1, 0.2, 0.3, 0.6):
            for seed in range(5):
                held = hold_out(np.arange(len(groups)), labels, fraction, seed, "test_fraction", groups)[1]
                assert len(held) / len(groups) == pytest.approx(fraction, abs=0.012)
                shares = np.bincount(labels[held]) / np.bincount(labels)
                np.testing.assert_allclose(shares, fraction, atol=0.04)


def test_three_groups_and_the_seed():
    groups = np.arange(300) // 100
    held = [hold_out(np.arange(300), None, 0.1, seed, "test_fraction", groups)[1] for seed in range(20)]
    assert {len(rows) for rows in held} == {100}
    assert {int(groups[rows[0]]) for rows in held} == {0, 1, 2}


def test_a_class_of_one_group_is_kept():
    groups = np.arange(3000) // 10
    labels = groups % 3
    labels[:300:10] = 3 + np.arange(30)
    for seed in range(10):
        held = hold_out(np.arange(3000), labels, 0.3, seed, "test_fraction", groups)[1]
        assert labels[held].max() < 3
        assert len(held) == 900
    # If each group is a class of its own, some must be held out.
    assert len(hold_out(np.arange(100), np.arange(100) // 10, 0.2, 0, "test_fraction", np.arange(100) // 10)[1]) == 20


def test_both_values_of_each_label_are_kept_in_equal_shares(rng):
    groups = np.arange(2000) // 10
    labels = (rng.random((2000, 12)) < 0.3).astype(float)
    labels[:, 3] = groups == 5
    held = hold_out(np.arange(2000), labels, 0.2, 0, "test_fraction", groups)[1]
    shares = labels[held].sum(axis=0) / labels.sum(axis=0)
    assert shares[3] == 0
    np.testing.assert_allclose(np.delete(shares, 3), 0.2, atol=0.04)


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_one_group_cannot_be_divided(fraction):
    with pytest.raises(InputError, match=f"test_fraction is {fraction}, and the 9 rows to divide are one group"):
        hold_out(np.arange(9), None, fraction, 0, "test_fraction", np.zeros(9))


@pytest.mark.parametrize("stratified", [True, False])
def test_each_group_is_in_one_fold(stratified):
    for seed in range(30):
        groups, labels = random_table(seed)
        parts, notes = in_folds(len(groups), labels if stratified else None, 5, seed, groups)
        parts = list(parts)
        assert sorted(np.concatenate([held for _, held in parts])) == [*range(len(groups))]
        for kept, held in parts:
            assert len(held)
            assert not np.isin(groups[kept], groups[held]).any()
            assert len(kept) + len(held) == len(groups)
        sizes = [len(held) for _, held in parts]
        assert notes[-1].endswith(f"groups, with {min(sizes)} to {max(sizes)} rows in a fold")


def test_folds_of_groups_are_as_equal_as_scikit_learn_makes_them(monkeypatch):
    groups, labels = random_table(1)

    def sizes(parts):
        return sorted(len(held) for _, held in parts)

    by_size = sizes(GroupKFold(4).split(groups, None, groups))
    assert sizes(in_folds(len(groups), None, 4, 0, groups)[0]) == by_size
    splitter = StratifiedGroupKFold(4, shuffle=True, random_state=0)
    numbered = np.unique(groups, return_inverse=True)[1]
    expected = [
        np.bincount(labels[held], minlength=3) / len(held) for _, held in splitter.split(groups, labels, numbered)
    ]
    found = [
        np.bincount(labels[held], minlength=3) / len(held) for _, held in in_folds(len(groups), labels, 4, 0, groups)[0]
    ]
    assert np.std(found, axis=0).mean() < 1.5 * np.std(expected, axis=0).mean()
    monkeypatch.setattr(split, "MANY_GROUPS", 5)
    assert sizes(in_folds(len(groups), labels, 4, 0, groups)[0]) == by_size


def test_no_fold_is_empty():
    """StratifiedGroupKFold leaves some empty for such groups."""
    left = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(5), rng.integers(1, 10, 5))
        labels = rng.integers(0, 4, 5)[groups]
        if np.bincount(labels).max() < 5:
            continue
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        order = np.random.default_rng(seed).permutation(5)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class")
            left += any(not len(held) for _, held in splitter.split(groups, labels, order[groups]))
        assert all(len(held) for _, held in in_folds(len(groups), labels, 5, seed, groups)[0])
    assert left


def test_too_few_groups_for_the_folds_and_classes_of_few_groups():
    groups = np.arange(30) // 10
    with pytest.raises(InputError, match="folds is 4, for 3 groups; allowed: at most a fold a group"):
        in_folds(30, None, 4, 0, groups)
    notes = in_folds(30, (groups == 1).astype(int), 3, 0, groups)[1]
    assert notes[0] == "folds: fewer than 3 groups in 2 of 2 classes, and some folds have none of them"


def test_groups_may_be_any_values():
    for values in (["7", "007", "NA"], [7.5, "a", None], [True, 2, 3]):
        groups = np.repeat(np.array(values, object), 10)
        held = hold_out(np.arange(30), None, 0.3, 0, "test_fraction", groups)[1]
        assert len(held) == 10
        assert len({groups[row] for row in held}) == 1
