r"""The local rule written out by hand: a product of what one synapse sees on its two sides. An oracle for autodiff."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core.density import Gaussian
from ..core.layers import Dense
from ..core.term import Prediction


def hebbian_step(
    term: Prediction, states: Mapping[str, Float[Array, "batch *node"]]
) -> tuple[Float[Array, "m n"], Float[Array, "m"]]:
    r"""Return the descent direction of one dense Gaussian term by hand.

    $$\Delta W = \frac1B\sum_b \big(\Pi\varepsilon \odot \phi'(Wx+b)\big)\, x^\top,\qquad
      \Delta b = \frac1B\sum_b \Pi\varepsilon \odot \phi'(Wx+b)$$

    Where the activation is not elementwise, as with `DivisiveNormalisation`, the transpose of its Jacobian takes the
    place of $\phi'$: the synapse then sees the errors of other units as well.

    Arguments:
        term: a prediction with one source, a `Dense` function and a Gaussian density; the source is flattened.
        states: node -> states with a leading batch axis.

    Returns:
        ($\Delta W$, $\Delta b$), equal to the negative gradient of the mean energy.

    Raises:
        TypeError: if the term is not of that form.
    """
    if not (isinstance(term.function, Dense) and isinstance(term.density, Gaussian) and len(term.sources) == 1):
        raise TypeError(
            "hebbian_step needs a term with one source, a Dense function and a Gaussian density, got "
            f"{type(term.function).__name__} and {type(term.density).__name__} with {len(term.sources)} sources."
        )
    layer, density = term.function, term.density

    def local(source: Array, target: Array) -> tuple[Array, Array]:
        source = source.reshape(-1)
        predicted, through = jax.vjp(layer.activation, layer.linear(source))
        (signal,) = through(density.precision.times(target - predicted))
        return jnp.outer(signal, source), signal

    weights, biases = jax.vmap(local)(states[term.sources[0]], states[term.target])
    return jnp.mean(weights, axis=0), jnp.mean(biases, axis=0)
