"""Variational autoencoder: backpropagation through a sampled code, the rival of Monte Carlo predictive coding."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core.activation import Activation
from ..core.checks import at_least, widths
from ..core.density import AbstractDensity, Bernoulli
from ..core.layers import Dense, identity, keys
from ..core.parameters import split


class VAE(eqx.Module):
    r"""Variational autoencoder with a Gaussian code, trained by the reparameterised bound.

    $-\log p(x) \le L = E_x\big(x, g(z)\big) + \tfrac12 \sum_i \big(\mu_i^2 + s_i^2 - 1 - \log s_i^2\big)$ with
    $z = \mu(x) + s(x)\,\xi$ and $\xi \sim N(0, I)$, in nats per sample. $E_x$ is the energy of a density of the house:
    a decoder that learns by predictive coding may have the same likelihood.

    Arguments:
        inputs: number of units of the data.
        latent: number of units of the code.
        hidden: widths of the decoder from the code to the data; the encoder has the same in reverse.
        activation: elementwise, after every hidden layer.
        density: of the data given the code (default: Bernoulli, for values in [0, 1]).
        key: for the weights, uniform in $\pm 1/\sqrt{\text{fan-in}}$.

    Cost: one forward and one backward pass through encoder and decoder a batch.

    Source: Kingma & Welling (2014), equations 7 and 10.
    """

    encoder: list[Dense]
    decoder: list[Dense]
    density: AbstractDensity

    def __init__(
        self,
        inputs: int,
        latent: int,
        *,
        hidden: Sequence[int] = (128, 128),
        activation: Activation = jax.nn.gelu,
        density: AbstractDensity = Bernoulli(),
        key: PRNGKeyArray,
    ):
        at_least("latent", latent, 1)
        widths("hidden", hidden)
        up, down = jax.random.split(key)
        self.encoder = _layers((inputs, *reversed(hidden), 2 * latent), activation, up)
        self.decoder = _layers((latent, *hidden, inputs), activation, down)
        self.density = density

    def code(self, x: Float[Array, "n"]) -> tuple[Float[Array, "k"], Float[Array, "k"]]:
        r"""Return $(\mu, \log s^2)$ of the code of one sample."""
        mean, log_variance = jnp.split(_through(self.encoder, x), 2)
        return mean, log_variance

    def bound(self, x: Float[Array, "n"], *, key: PRNGKeyArray) -> dict[str, Float[Array, ""]]:
        """Return the two parts of the negative bound of one sample in nats: "data" and "code"."""
        mean, log_variance = self.code(x)
        z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
        distance = 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance)
        return {"data": self.density.energy(x, _through(self.decoder, z)), "code": distance}

    def generate(self, *, key: PRNGKeyArray) -> Float[Array, "n"]:
        """Return the mean of the data for a code that is drawn from its prior."""
        z = jax.random.normal(key, (self.decoder[0].linear.in_features,))  # type: ignore[arg-type]
        return self.density.mean(_through(self.decoder, z))


def learn(
    vae: VAE,
    optimiser: optax.GradientTransformation,
    memory: optax.OptState,
    batch: Float[Array, "b n"],
    *,
    key: PRNGKeyArray,
) -> tuple[VAE, optax.OptState, dict[str, Float[Array, ""]]]:
    """Return (the model, the optimiser's memory, batch means of the bound's parts) after one weight update."""
    trained, rest = split(vae)
    sample_keys = jax.random.split(key, batch.shape[0])

    def loss(trained: VAE) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        model = eqx.combine(trained, rest)
        parts = jax.vmap(lambda x, k: model.bound(x, key=k))(batch, sample_keys)
        means = jax.tree.map(jnp.mean, parts)
        return means["data"] + means["code"], means

    gradient, means = jax.grad(loss, has_aux=True)(trained)
    updates, memory = optimiser.update(gradient, memory, trained)
    return eqx.combine(optax.apply_updates(trained, updates), rest), memory, means


def learn_epoch(
    vae: VAE,
    optimiser: optax.GradientTransformation,
    memory: optax.OptState,
    rows: Float[Array, "n units"],
    order: Int[Array, "steps batch"],
    *,
    key: PRNGKeyArray,
) -> tuple[VAE, optax.OptState, dict[str, Float[Array, ""]]]:
    """Return what `learn` returns after one batch for every row of `order`, with the means over all of them."""
    arrays, static = eqx.partition(vae, eqx.is_array)

    def body(carry: tuple, step: tuple) -> tuple[tuple, dict[str, Array]]:
        arrays, memory = carry
        indices, key = step
        model, memory, means = learn(eqx.combine(arrays, static), optimiser, memory, rows[indices], key=key)
        return (eqx.filter(model, eqx.is_array), memory), means

    steps = (order, jax.random.split(key, order.shape[0]))
    (arrays, memory), means = jax.lax.scan(body, (arrays, memory), steps)
    return eqx.combine(arrays, static), memory, jax.tree.map(jnp.mean, means)


def _layers(sizes: Sequence[int], activation: Activation, key: PRNGKeyArray) -> list[Dense]:
    last = len(sizes) - 2
    return [
        Dense(sizes[i], sizes[i + 1], identity if i == last else activation, key=k)
        for i, k in enumerate(keys(key, len(sizes) - 1))
    ]


def _through(layers: Sequence[Dense], state: Float[Array, "m"]) -> Float[Array, "n"]:
    for layer in layers:
        state = layer(state)
    return state
