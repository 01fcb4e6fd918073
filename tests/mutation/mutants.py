"""Single-point mutants of the package: each is a mistake that somebody could make, and the tests that must catch it."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One changed place.

    `file` stands under the package, `old` occurs in it exactly once, `tests` are the files (or node ids) that are run.
    """

    name: str
    file: str
    old: str
    new: str
    reason: str
    tests: str


LINEAR = "closed_form/test_linear_chain.py"
GOLDEN = "closed_form/test_golden.py"
NUDGE = "closed_form/test_nudge.py"
DENSITIES = "closed_form/test_densities.py"
COUNTS = "closed_form/test_counts.py"
DIFFERENCES = "finite_difference/test_gradients.py"
BACKPROP = "equivalence/test_backprop.py"
HEBBIAN = "equivalence/test_hebbian.py"
COORDINATES = "equivalence/test_coordinates.py"
SAVINGS = "equivalence/test_savings.py"
SOLVERS = "equivalence/test_solvers.py"
FLOW = "invariance/test_flow.py"
SAMPLES = "invariance/test_samples.py"
FAULTS = "faults/test_network_faults.py"
FAILURES = "faults/test_relaxation_faults.py"
CONTRACT = "contracts/test_solvers_contract.py"

MUTANTS = [
    # core
    Mutant(
        "energy-half",
        "core/density.py",
        "energy = 0.5 * jnp.sum(error * self.precision.times(error))",
        "energy = jnp.sum(error * self.precision.times(error))",
        "the one half of the squared error is forgotten",
        DENSITIES,
    ),
    Mutant(
        "precision-missing",
        "core/density.py",
        "energy = 0.5 * jnp.sum(error * self.precision.times(error))",
        "energy = 0.5 * jnp.sum(error * error)",
        "the precision does not weigh the error",
        DENSITIES,
    ),
    Mutant(
        "normaliser-sign",
        "core/density.py",
        "energy = energy - 0.5 * self.precision.log_determinant(error.size)",
        "energy = energy + 0.5 * self.precision.log_determinant(error.size)",
        "the log-normaliser has the wrong sign",
        DENSITIES,
    ),
    Mutant(
        "normaliser-dropped",
        "core/density.py",
        "energy = energy - 0.5 * self.precision.log_determinant(error.size)",
        "pass",
        "a learned precision without its log-normaliser shrinks to zero",
        DENSITIES,
    ),
    Mutant(
        "scalar-normaliser-size",
        "core/precision.py",
        "return size * (jnp.asarray(self.value) if self.learned else jnp.log(self.value))",
        "return 1.0 * (jnp.asarray(self.value) if self.learned else jnp.log(self.value))",
        "the determinant of a scalar precision counts one unit only",
        DENSITIES,
    ),
    Mutant(
        "cholesky-order",
        "core/precision.py",
        "(factor @ (factor.T @ flat))",
        "(factor.T @ (factor @ flat))",
        "L'L in place of LL'",
        DENSITIES,
    ),
    Mutant(
        "categorical-sign",
        "core/density.py",
        "return -jnp.sum(state * jax.nn.log_softmax(prediction, axis=-1))",
        "return jnp.sum(state * jax.nn.log_softmax(prediction, axis=-1))",
        "cross entropy with the wrong sign",
        DENSITIES,
    ),
    Mutant(
        "bernoulli-overflow",
        "core/density.py",
        "jnp.sum(jax.nn.softplus(prediction) - state * prediction)",
        "jnp.sum(jnp.log(1 + jnp.exp(4 * prediction)) / 4 - state * prediction)",
        "a softplus of another slope, which overflows",
        DENSITIES,
    ),
    Mutant(
        "error-sign",
        "core/term.py",
        "return states[self.target] - self.density.mean(self.predict(states))",
        "return self.density.mean(self.predict(states)) - states[self.target]",
        "the error is prediction minus state",
        COORDINATES,
    ),
    Mutant(
        "error-coordinate-sign",
        "core/coordinates.py",
        "term.density.mean(term.predict(states)) + variables[term.target]",
        "term.density.mean(term.predict(states)) - variables[term.target]",
        "states are rebuilt from the negative errors",
        COORDINATES,
    ),
    Mutant(
        "error-coordinate-local",
        "core/coordinates.py",
        "    local = False\n",
        "    local = True\n",
        "error coordinates said to be local, so that errors are skipped although all states move",
        GOLDEN,
    ),
    Mutant(
        "mask-inverted",
        "core/clamp.py",
        "jnp.where(clamp.mask, clamp.value, imposed[name])",
        "jnp.where(clamp.mask, imposed[name], clamp.value)",
        "the mask holds the wrong entries",
        SAMPLES,
    ),
    Mutant(
        "mask-ignored",
        "core/coordinates.py",
        "        return impose(full, clamps)",
        "        return full",
        "masked entries drift, as nothing holds them",
        SAMPLES,
    ),
    Mutant(
        "held-source-drifts",
        "core/coordinates.py",
        "states = impose({name: value(clamp) for name, clamp in clamps.items()} | dict(variables), clamps)",
        "states = {name: value(clamp) for name, clamp in clamps.items()} | dict(variables)",
        "children of a partly held source see entries that drifted",
        COORDINATES,
    ),
    Mutant(
        "forward-order",
        "core/graph.py",
        "if not any(source in waiting for source in sources):",
        "if True:",
        "terms are evaluated in the order given, before their sources",
        BACKPROP,
    ),
    Mutant(
        "forward-mean",
        "core/network.py",
        "states[term.target] = term.density.mean(term.predict(states))",
        "states[term.target] = term.predict(states)",
        "a forward pass writes logits into the node in place of probabilities",
        BACKPROP,
    ),
    Mutant(
        "constants-too-many",
        "core/graph.py",
        "if set(term.sources) <= set(clamped)]",
        "if set(term.sources) & set(clamped)]",
        "a prediction with one free source is taken for a constant",
        SAVINGS,
    ),
    Mutant(
        "waves-late",
        "core/graph.py",
        "        active = grown\n        sets.append(active)",
        "        sets.append(active)\n        active = grown",
        "the error arrives one step late",
        SAVINGS,
    ),
    Mutant(
        "rest-of-other-densities",
        "core/initialise.py",
        "return frozenset(name for name in order if terms[name].density.rests_at_prediction)",
        "return frozenset(order)",
        "a categorical node is said to rest, although its energy has a slope everywhere",
        SAVINGS,
    ),
    Mutant(
        "frozen-trained",
        "core/parameters.py",
        "return jax.tree.map(lambda _: False, node)",
        "return jax.tree.map(lambda _: True, node)",
        "fixed precisions are trained",
        COUNTS,
    ),
    Mutant(
        "pool-mean",
        "core/layers.py",
        "return jnp.maximum(columns[:, :, 0], columns[:, :, 1])",
        "return (columns[:, :, 0] + columns[:, :, 1]) / 2",
        "mean-pooling along one axis",
        COUNTS,
    ),
    Mutant(
        "second-prediction-wins",
        "core/graph.py",
        "first.setdefault(term.target, name)",
        "first[term.target] = name",
        "the last of two predictions gives a node its value",
        SAVINGS + "::test_savings_change_nothing",
    ),
    # inference
    Mutant(
        "ascent",
        "inference/gradient.py",
        "return optax.sgd(self.rate, self.momentum or None, self.nesterov)",
        "return optax.sgd(-self.rate, self.momentum or None, self.nesterov)",
        "states climb the energy",
        GOLDEN,
    ),
    Mutant(
        "flow-sign",
        "inference/flow.py",
        "return {name: -g / tau.get(name, 1.0)",
        "return {name: g / tau.get(name, 1.0)",
        "the flow runs uphill",
        FLOW,
    ),
    Mutant(
        "flow-time-constant",
        "inference/flow.py",
        "return {name: -g / tau.get(name, 1.0)",
        "return {name: -g * tau.get(name, 1.0)",
        "a slow node moves fast",
        SOLVERS,
    ),
    Mutant(
        "flow-overshoot",
        "inference/flow.py",
        "jnp.minimum(end, self.duration)",
        "end",
        "the last step runs past the end",
        FLOW,
    ),
    Mutant(
        "momentum-dropped",
        "inference/gradient.py",
        "optax.sgd(self.rate, self.momentum or None, self.nesterov)",
        "optax.sgd(self.rate)",
        "momentum is never used",
        SOLVERS,
    ),
    Mutant(
        "everything-rests",
        "inference/gradient.py",
        "self.rests = _leaves_rest(rule)",
        "self.rests = True",
        "weight decay on states is skipped where no error has arrived",
        SAVINGS,
    ),
    Mutant(
        "wave-plan-short",
        "inference/relax.py",
        "clamps))[: self.steps + 1]",
        "clamps))[: self.steps]",
        "the last step of the error is not followed, so that its term learns nothing",
        SAVINGS,
    ),
    Mutant(
        "solver-rest-ignored",
        "inference/relax.py",
        "if not (self.savings and self.solver.rests and self.coordinates.local and known_length):",
        "if not (self.savings and self.coordinates.local and known_length):",
        "solvers that move at rest are saved all the same",
        SAVINGS,
    ),
    Mutant(
        "residual-absolute",
        "inference/relax.py",
        "relative = jnp.where(first == 0, 0.0, last / jnp.where(first == 0, 1, first))",
        "relative = last",
        "the residual is not relative to its start",
        FLOW,
    ),
    Mutant(
        "residual-before-the-step",
        "inference/relax.py",
        "return t + 1, ends(ahead, state), moved, ahead, state, buffer",
        "return t + 1, ends(gradient, state), moved, ahead, state, buffer",
        "the residual is taken before the last step: one step too many",
        FLOW,
    ),
    Mutant(
        "overflow-is-an-end",
        "inference/relax.py",
        "finite = jnp.isfinite(relative)",
        "finite = jnp.array(True)",
        "a gradient that overflows passes for an end",
        FAILURES,
    ),
    Mutant(
        "trace-shifted",
        "inference/relax.py",
        "return moved, state, (energies, norm(gradient))",
        "return moved, state, (objective.energies(moved), norm(gradient))",
        "the trace holds the energies after the step",
        FLOW,
    ),
    Mutant(
        "stopped-trace-shifted",
        "inference/relax.py",
        "lambda b, p: b.at[t + 1].set(p)",
        "lambda b, p: b.at[t].set(p)",
        "the trace of a relaxation that stops by itself lags one point behind",
        FLOW,
    ),
    Mutant(
        "stale-gradient",
        "inference/relax.py",
        "return t + 1, ends(ahead, state), moved, ahead, state, buffer",
        "return t + 1, ends(ahead, state), moved, gradient, state, buffer",
        "the loop descends the gradient of the step before",
        SOLVERS,
    ),
    Mutant(
        "resting-normaliser",
        "inference/relax.py",
        "return term.density.energy(state, state)",
        "return jnp.zeros(())",
        "the trace forgets the log-normaliser of a learned precision at rest",
        FLOW,
    ),
    Mutant(
        "learned-precision-untouched",
        "inference/relax.py",
        "return plan, frozenset(terms) - plan[-1].active - learning",
        "return plan, frozenset(terms) - plan[-1].active",
        "a learned precision at rest gets no gradient",
        SAVINGS,
    ),
    Mutant(
        "one-noise-for-all",
        "inference/stepwise.py",
        "return jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.arange(size))",
        "return jax.vmap(lambda index: key)(jnp.arange(size))",
        "all samples of a batch start at the same noise",
        SAMPLES,
    ),
    Mutant(
        "moving-nodes-unheld",
        "inference/objective.py",
        "moving = {name: value for name, value in variables.items() if name in self.moving}",
        "moving = {name: 2 * value for name, value in variables.items() if name in self.moving}",
        "the gradient is taken at another point",
        DIFFERENCES,
    ),
    # learning
    Mutant(
        "batch-sum",
        "learning/batch.py",
        "return jax.tree.map(lambda leaf: leaf / batch, (gradient, sums))",
        "return gradient, sums",
        "weights follow the sum over the batch",
        DIFFERENCES,
    ),
    Mutant(
        "hebbian-transposed",
        "learning/hebbian.py",
        "return jnp.outer(signal, source), signal",
        "return jnp.outer(source, signal).reshape(signal.size, source.size), signal",
        "the outer product is transposed",
        HEBBIAN,
    ),
    Mutant(
        "hebbian-precision",
        "learning/hebbian.py",
        "signal = density.precision.times(target - layer.activation(drive)) * slope",
        "signal = (target - layer.activation(drive)) * slope",
        "the written rule forgets the precision",
        HEBBIAN,
    ),
    Mutant(
        "contrast-one-beta",
        "learning/contrast.py",
        "(p - m) / (2 * beta)",
        "(p - m) / beta",
        "two phases are divided by one beta",
        NUDGE,
    ),
    # algorithms
    Mutant(
        "nudge-sign",
        "algorithms/nudging.py",
        "return output + beta * (target - output)",
        "return output - beta * (target - output)",
        "the output is nudged the other way",
        NUDGE,
    ),
    Mutant(
        "beta-not-divided",
        "algorithms/nudging.py",
        "jax.tree.map(lambda leaf: leaf / beta, gradient)",
        "jax.tree.map(lambda leaf: leaf, gradient)",
        "the gradient is not divided by beta",
        NUDGE,
    ),
    Mutant(
        "ramp-unbounded",
        "algorithms/nudging.py",
        "return jnp.minimum(self.beta + self.ramp * epoch, 1.0)",
        "return jnp.asarray(self.beta + self.ramp * epoch)",
        "the ramp passes the full clamp",
        NUDGE,
    ),
    Mutant(
        "negative-never-turns",
        "algorithms/nn.py",
        "return jnp.where(strength >= 1, 1.0, -strength)",
        "return -strength",
        "negative nudging stays negative at full strength",
        NUDGE,
    ),
    Mutant(
        "signs-late",
        "algorithms/cn.py",
        "jnp.where(epoch < len(self.signs),",
        "jnp.where(epoch < len(self.signs) - 1,",
        "the last given sign is drawn",
        NUDGE,
    ),
    Mutant(
        "paired-sign",
        "algorithms/cn.py",
        "for b, s in ((strength, plus), (-strength, minus))",
        "for b, s in ((strength, plus), (strength, minus))",
        "the phases are contrasted with the sign lost",
        NUDGE,
    ),
    Mutant(
        "incremental-moved-states",
        "algorithms/ipc.py",
        "gradient, energies = energy_gradient(state.network, states)",
        "gradient, energies = energy_gradient(state.network, moved)",
        "weights learn from the states after they moved",
        SOLVERS,
    ),
    Mutant(
        "incremental-signal-steps",
        "algorithms/ipc.py",
        "steps=self.steps - 1, initial",
        "steps=self.steps, initial",
        "the last step's weights see one relaxation step too many",
        SOLVERS,
    ),
    Mutant(
        "zil-order",
        "algorithms/zil.py",
        "for level in graph.levels(network.terms, require_output(network)) or ():",
        "for level in reversed(graph.levels(network.terms, require_output(network)) or ()):",
        "layers learn from the input up, before the error arrives",
        BACKPROP,
    ),
    Mutant(
        "zil-sign",
        "algorithms/zil.py",
        "{name: states[name] - g for name, g in gradient.items()}",
        "{name: states[name] + g for name, g in gradient.items()}",
        "states step uphill",
        BACKPROP,
    ),
    Mutant(
        "zil-two-predictions",
        "core/graph.py",
        "return grouped if len(targets) == len(found) else None",
        "return grouped",
        "networks that ZIL cannot make equal to backpropagation are accepted",
        BACKPROP,
    ),
    Mutant(
        "bp-unscaled",
        "algorithms/bp.py",
        "lambda leaf: self.scale * leaf, gradient",
        "lambda leaf: leaf, gradient",
        "the scale of the loss has no effect",
        BACKPROP,
    ),
    Mutant(
        "clamp-on-output-seen",
        "algorithms/contract.py",
        "if name != output}",
        "if name}",
        "a prediction returns the label that it was given",
        "contracts/test_algorithms_contract.py",
    ),
]
