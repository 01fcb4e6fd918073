"""Binary Hopfield networks: an energy over spins, and recall by updates that never raise it."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Real

from ..core.checks import at_least
from .symmetric import Symmetric


class Recall(eqx.Module):
    """Where a recall arrived.

    Attributes:
        state: the last state, entries -1 and 1.
        sweeps: the number of sweeps taken; unless they run out, the last one changes nothing.
        stable: whether no unit that is free wants to flip; a synchronous recall may end in a cycle of two states
            instead.
        energies: nats before the first sweep and after each; the last value is repeated once a sweep changes nothing.
    """

    state: Float[Array, "n"]
    sweeps: Int[Array, ""]
    stable: Bool[Array, ""]
    energies: Float[Array, "points"]


class Hopfield(eqx.Module):
    r"""Spins $s \in \{-1, 1\}^N$, $E = -\frac12 s^\top W s - b^\top s$, update $s_i \leftarrow \mathrm{sgn}(h_i)$.

    A flip changes the energy by $-(s_i' - s_i)h_i \le 0$, so one unit at a time the network always comes to rest. All
    at once it may fall into a cycle of two states, and the energy may rise.

    Arguments:
        coupling: weights and bias; the weights come from a storage rule such as `hebbian(patterns)`.

    Source: Hopfield (1982); cycles of two: Goles, Fogelman & Pellegrin (1985).
    """

    coupling: Symmetric

    def energy(self, state: Float[Array, "n"]) -> Float[Array, ""]:
        """Return the energy of one state in nats."""
        return self.coupling.energy(state)

    def stable(self, state: Float[Array, "n"], *, held: Bool[Array, "n"] | None = None) -> Bool[Array, ""]:
        """Say whether no unit wants to flip; those that are held (default: none) are not asked."""
        content = self.coupling.field(state) * state >= -self._rounding()
        return jnp.all(content if held is None else content | held)

    def recall(
        self,
        cue: Real[Array, "n"],
        *,
        held: Bool[Array, "n"] | None = None,
        sweeps: int = 100,
        key: PRNGKeyArray,
    ) -> Recall:
        """Update one unit after the other, in a random order in each sweep, until none flips.

        Arguments:
            cue: the first state, entries -1 and 1 of any dtype. Under `vmap` leave the key out of the mapped arguments:
                all samples then visit the units in one order, which is faster.
            held: units that keep their value (default: none).
            sweeps: most visits of every unit (default 100; recall below capacity takes 2 to 10).
            key: for the orders.

        Cost: N^2 a sweep.
        """
        weight, bias, rounding = self.coupling.couplings(), self.coupling.bias, self._rounding()
        free = jnp.ones(cue.shape, bool) if held is None else ~held

        def sweep(state: Array, index: Array) -> Array:
            def visit(state: Array, i: Array) -> tuple[Array, None]:
                field = weight[i] @ state + bias[i]
                new = jnp.where(free[i], _sign(field, state[i], rounding[i]), state[i])
                return state.at[i].set(new), None

            order = jax.random.permutation(jax.random.fold_in(key, index), cue.size)
            return jax.lax.scan(visit, state, order)[0]

        return self._until_stable(sweep, cue, held, sweeps)

    def recall_together(
        self, cue: Real[Array, "n"], *, held: Bool[Array, "n"] | None = None, sweeps: int = 100
    ) -> Recall:
        """Update all units at once, until none flips or the sweeps run out, which is how a cycle of two ends.

        Arguments: as of `recall`.

        Cost: N^2 a sweep.
        """
        rounding = self._rounding()
        free = jnp.ones(cue.shape, bool) if held is None else ~held

        def sweep(state: Array, index: Array) -> Array:
            del index
            return jnp.where(free, _sign(self.coupling.field(state), state, rounding), state)

        return self._until_stable(sweep, cue, held, sweeps)

    def _until_stable(self, sweep: "eqx.Module | object", cue: Array, held: Array | None, sweeps: int) -> Recall:
        at_least("sweeps", sweeps, 1)
        cue = cue.astype(self.coupling.weight.dtype)

        def unfinished(carry: tuple) -> Bool[Array, ""]:
            taken, _, resting, _ = carry
            return (taken < sweeps) & ~resting

        def body(carry: tuple) -> tuple:
            taken, state, _, energies = carry
            moved = sweep(state, taken)  # type: ignore[operator]
            later = jnp.arange(sweeps + 1) > taken
            energies = jnp.where(later, self.energy(moved), energies)
            return taken + 1, moved, jnp.all(moved == state), energies

        first = jnp.full(sweeps + 1, self.energy(cue))
        taken, state, _, energies = jax.lax.while_loop(
            unfinished, body, (jnp.asarray(0), cue, jnp.asarray(False), first)
        )
        return Recall(state, taken, self.stable(state, held=held), energies)

    def _rounding(self) -> Float[Array, "n"]:
        """Return below which size a field counts as zero: sums of terms that cancel leave rounding errors."""
        weight = self.coupling.couplings()
        return 4 * jnp.finfo(weight.dtype).eps * jnp.sum(jnp.abs(weight), axis=1)


def _sign(field: Array, state: Array, rounding: Array) -> Array:
    """Return the sign of the field, and the present value where the field is zero."""
    return jnp.where(jnp.abs(field) <= rounding, state, jnp.sign(field))
