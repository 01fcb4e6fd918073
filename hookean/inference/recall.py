"""Associative recall: complete or clean data by inferring the latent causes of what is seen of them."""

from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..core.coordinates import AbstractCoordinates, ErrorCoordinates
from ..core.initialise import AbstractInitialiser, Forward, Given
from ..core.network import Network
from ..core.observe import observed
from .relax import relax
from .solver import AbstractSolver


def recall(
    network: Network,
    values: Float[Array, "batch *node"],
    seen: Float[Array, "batch *node"],
    *,
    solver: AbstractSolver,
    steps: int,
    initial: AbstractInitialiser = Forward(),
    coordinates: AbstractCoordinates = ErrorCoordinates(),
    chunk: int = 1,
    key: PRNGKeyArray | None = None,
) -> Iterator[tuple[int, Float[Array, "batch *node"], dict[str, Array]]]:
    r"""Yield (steps behind it, what the network predicts for its output node, states), every `chunk` steps.

    The latents minimise $\frac12\lVert m \odot (x - \hat x)\rVert^2_\Pi$ and the energies above it. Missing values
    are at their predictions, see `observed`; noise on seen values is what remains as their error.

    Arguments:
        values: the corrupted data; what stands at missing places is not looked at.
        seen: 1 where a value is seen, 0 where it is missing; another mask for every sample, if wanted.
        solver: how the latents move; it keeps no memory from chunk to chunk, so `chunk` = `steps` for one that does.
        steps: number of steps, a multiple of `chunk`.
        initial: where the latents start (default: a forward pass from the zero latent).
        coordinates: the variables of the solver (default: errors, in which a pixel reaches the latent in one step).
        key: random key; needed where the solver or the initialiser draws.

    Raises:
        ValueError: if `steps` is not a multiple of `chunk`, the network cannot be seen through a mask, or a key is
            missing.

    Cost: that of the solver's steps.
    """
    if network.output is None or chunk < 1 or steps % chunk:
        raise ValueError(
            f"the network must name its output, and steps must be a multiple of chunk, got {steps} and {chunk}."
        )
    clamps = {network.output: seen * values, "seen": seen}
    through = observed(network, network.output)
    start: AbstractInitialiser = initial
    for done in range(chunk, steps + 1, chunk):
        now = None if key is None else jax.random.fold_in(key, done)
        states, predicted = _advance(through, network, clamps, solver, start, coordinates, chunk, now)
        yield done, predicted, states
        start = Given(states)


@eqx.filter_jit
def _advance(
    through: Network,
    network: Network,
    clamps: dict[str, Array],
    solver: AbstractSolver,
    start: AbstractInitialiser,
    coordinates: AbstractCoordinates,
    chunk: int,
    key: PRNGKeyArray | None,
) -> tuple[dict[str, Array], Array]:
    end = relax(through, clamps, solver=solver, steps=chunk, initial=start, coordinates=coordinates, key=key)
    states = {name: state for name, state in end.states.items() if name not in clamps}
    data = jnp.zeros_like(next(iter(clamps.values())))
    name = next(n for n, term in network.terms.items() if network.output in term.nodes)
    predicted = jax.vmap(lambda s: network.predictions(s, only=[name])[name])(states | {network.output: data})
    return states, predicted
