"""The Kalman filter: the best estimate of a linear Gaussian state from what was observed so far."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def kalman_filter(
    observations: Float[Array, "steps k"],
    inputs: Float[Array, "steps p"],
    *,
    A: Float[Array, "n n"],
    B: Float[Array, "n p"],
    C: Float[Array, "k n"],
    state_noise: Float[Array, "n n"],
    noise: Float[Array, "k k"],
) -> tuple[Float[Array, "steps n"], Float[Array, "steps n n"]]:
    r"""Return mean and covariance of $z_t$ given the observations up to t, one sequence.

    $z_t = A z_{t-1} + B u_t + w_t$, $x_t = C z_t + v_t$ with covariances Q of w and R of v, and $z_0 = 0$ known. With
    $P^- = A P A^\top + Q$ and $K = P^- C^\top (C P^- C^\top + R)^{-1}$,

    $$z \leftarrow \hat z + K\,(x - C\hat z), \qquad P \leftarrow (I - KC)\,P^-, \qquad \hat z = A z + B u .$$

    Temporal predictive coding with the same precisions takes $P = 0$ at every step, as if the past were certain.

    Arguments:
        observations, inputs: x and u.
        A, B, C: the system.
        state_noise, noise: Q and R.

    Cost: one linear solve of the size of an observation a step.

    Source: Kalman (1960).
    """

    def step(
        carry: tuple[Float[Array, "n"], Float[Array, "n n"]], now: tuple[Float[Array, "k"], Float[Array, "p"]]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        mean, covariance = carry
        observed, given = now
        ahead, spread = A @ mean + B @ given, A @ covariance @ A.T + state_noise
        gain = jnp.linalg.solve(C @ spread @ C.T + noise, C @ spread).T
        here = (ahead + gain @ (observed - C @ ahead), spread - gain @ C @ spread)
        return here, here

    size = A.shape[0]
    return jax.lax.scan(step, (jnp.zeros(size), jnp.zeros((size, size))), (observations, inputs))[1]
