"""Which samples form which batch: every sample once, another order each epoch, the same on resuming."""

import numpy as np
import pytest

from hookean.data.batches import epoch_order, evaluation_order


@pytest.mark.parametrize(("n", "batch", "steps"), [(100, 10, 10), (103, 10, 10), (7, 7, 1), (9, 1, 9)])
def test_an_epoch_takes_no_sample_twice_and_drops_the_tail_alone(n, batch, steps):
    order = epoch_order(n, batch, seed=0, epoch=0)
    assert order.shape == (steps, batch)
    assert order.dtype == np.int32
    assert len(np.unique(order)) == order.size
    assert order.min() >= 0
    assert order.max() < n


def test_the_tail_is_another_in_another_epoch():
    left = {tuple(sorted(set(range(13)) - set(epoch_order(13, 5, seed=0, epoch=e).ravel()))) for e in range(20)}
    assert len(left) > 10


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else():
    late = epoch_order(500, 10, seed=3, epoch=7)
    for epoch in range(7):
        epoch_order(500, 10, seed=3, epoch=epoch)
    np.testing.assert_array_equal(late, epoch_order(500, 10, seed=3, epoch=7))
    others = [(3, 6), (3, 8), (4, 7), (7, 3), (0, 37)]
    for seed, epoch in others:
        # Two random permutations of 500 agree in one place on average.
        assert np.mean(late == epoch_order(500, 10, seed=seed, epoch=epoch)) < 0.03
    assert np.mean(late.ravel() == np.arange(500)) < 0.03


@pytest.mark.parametrize(("n", "batch"), [(100, 10), (103, 10), (3, 8), (1, 1)])
def test_evaluation_counts_every_sample_exactly_once(n, batch):
    indices, weights = evaluation_order(n, batch)
    assert indices.shape == weights.shape == (-(-n // batch), batch)
    assert (indices.dtype, weights.dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(np.bincount(indices.ravel(), weights.ravel(), minlength=n), np.ones(n))
    assert set(np.unique(weights)) <= {0.0, 1.0}
    values = np.random.default_rng(0).normal(size=n)
    np.testing.assert_allclose((values[indices] * weights).sum() / weights.sum(), values.mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0, "batch_size": 1}, r"`n` must be at least 1; got 0"),
        ({"n": 5, "batch_size": 0}, r"`batch_size` must be at least 1; got 0"),
        ({"n": 5, "batch_size": 6}, r"`batch_size` must be at most the number of samples, 5.*got 6"),
        ({"n": 5, "batch_size": 5, "seed": -1}, r"`seed` must be 0 or more; got -1"),
        ({"n": 5, "batch_size": 5, "epoch": -2}, r"`epoch` must be 0 or more; got -2"),
    ],
)
def test_arguments_without_a_batch_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        epoch_order(**{"seed": 0, "epoch": 0} | arguments)


def test_evaluation_needs_a_sample_and_a_place():
    with pytest.raises(ValueError, match=r"`n` must be at least 1"):
        evaluation_order(0, 4)
    with pytest.raises(ValueError, match=r"`batch_size` must be at least 1"):
        evaluation_order(4, 0)
