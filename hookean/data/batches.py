"""Which samples form which batch: indices alone; the images stay on the device and are gathered in `jit`."""

import numpy as np
from jaxtyping import Float32, Int32


def epoch_order(n: int, batch_size: int, *, seed: int, epoch: int) -> Int32[np.ndarray, "steps batch"]:
    """Return the sample indices of the training batches of one epoch: a permutation, ragged tail dropped.

    It depends on the arguments alone and not on the epochs before: a resumed run sees the same order.

    Arguments:
        n: number of samples.
        batch_size: samples a batch; n // batch_size batches, and what is left over waits for another epoch.
        seed: of the run, 0 or more.
        epoch: number of the epoch, counted from 0.

    Raises:
        ValueError: if there is not one whole batch, or `seed` or `epoch` is negative.
    """
    _check_sizes(n, batch_size)
    if batch_size > n:
        raise ValueError(
            f"`batch_size` must be at most the number of samples, {n}, as only whole batches are trained on; "
            f"got {batch_size}."
        )
    for name, value in (("seed", seed), ("epoch", epoch)):
        if value < 0:
            raise ValueError(f"`{name}` must be 0 or more; got {value}.")
    steps = n // batch_size
    order = np.random.default_rng((seed, epoch)).permutation(n)[: steps * batch_size]
    return order.astype(np.int32).reshape(steps, batch_size)


def evaluation_order(
    n: int, batch_size: int
) -> tuple[Int32[np.ndarray, "steps batch"], Float32[np.ndarray, "steps batch"]]:
    """Return the sample indices of every evaluation batch, in order, and the weight of each place.

    Every sample has weight 1 in exactly one place. The last batch is filled up with sample 0 at weight 0, so
    that all batches have one shape and one compiled function serves them.

    Arguments:
        n: number of samples.
        batch_size: samples a batch; may exceed `n`.

    Raises:
        ValueError: if either is less than 1.
    """
    _check_sizes(n, batch_size)
    places = np.arange(-(-n // batch_size) * batch_size)
    indices = np.where(places < n, places, 0).astype(np.int32)
    weights = (places < n).astype(np.float32)
    return indices.reshape(-1, batch_size), weights.reshape(-1, batch_size)


def _check_sizes(n: int, batch_size: int) -> None:
    for name, value in (("n", n), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1; got {value}.")
