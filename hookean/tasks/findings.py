"""What the task `sampling` learns from and what it shows of the samples: measures, histograms, grids and films."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ..core.density import Gaussian
from ..core.network import Network
from ..data.dataset import Data
from ..data.iris import Iris
from ..data.mnist import MNIST
from ..data.split import stratified_order, validation_split
from ..inference.langevin import Langevin
from ..record import Images
from . import likeness
from .chains import Drawn
from .experiment import Stage
from .judge import Judge

#: Sepal length and petal length, as in the published runs.
FEATURES = (0, 2)
#: Principal components of the images that the diagnostics see.
COMPONENTS = 4
#: Sets of samples behind a mean earth mover's distance, where each is as large as the held-out half.
SETS = 40
#: Samples for every held-out one where the sampled distribution is measured and not a few samples of it.
MANY = 10
GRID = 10  # digits a side of a grid
FRAMES = 14  # pictures of a film
BINS = 32  # of a histogram, a side


@dataclasses.dataclass(frozen=True)
class Rows:
    """Samples to learn from and samples to be held against.

    Attributes:
        train, labels: what is learned from, as it lies in memory: [n, units] and [n].
        held: what samples are held against, scaled, [m, units].
        scaled: from rows in memory to what the network sees.
        watch: from the data node of the chains [c, units] to the statistics of the diagnostics [c, s].
        statistics: their names.
        data: the images behind the rows, or None for features.
    """

    train: np.ndarray
    labels: np.ndarray
    held: Float[np.ndarray, "m d"]
    scaled: Callable[[Any], Any]
    watch: Callable[[Array], Array]
    statistics: list[str]
    data: Data | None

    @property
    def units(self) -> int:
        """Units of the data node."""
        return self.train.shape[1]

    @property
    def pictures(self) -> bool:
        """Whether the samples are images."""
        return self.data is not None


def load(name: str, *, download: bool, subset: int | None, validation: bool) -> Rows:
    """Return the rows of a data set: two features of half of the flowers, or images.

    Arguments:
        subset: learn from the first so many samples.
        validation: hold samples against training samples that are kept back, and not against the test samples.
    """
    return _flowers(subset, validation) if name == "iris" else _images(download, subset, validation)


def _flowers(subset: int | None, validation: bool) -> Rows:
    """Return both halves of the flowers, standardised with mean and deviation of the half to learn from."""
    loaded = Iris().load()
    features = np.concatenate([loaded.train.inputs, loaded.test.inputs])[:, FEATURES]
    labels = np.concatenate([loaded.train.labels, loaded.test.labels])
    held, train = stratified_order(labels, len(labels) // 2, 0)
    if validation:
        held, rest = stratified_order(labels[train], len(train) // 3, 0)
        held, train = train[held], train[rest]
    mean, deviation = features[train].mean(axis=0), features[train].std(axis=0)
    features = ((features - mean) / deviation).astype(np.float32)
    names = ["sepal length", "petal length"]
    return Rows(features[train][:subset], labels[train][:subset], features[held], lambda x: x, lambda x: x, names, None)


def _images(download: bool, subset: int | None, validation: bool) -> Rows:
    loaded = MNIST().load(download=download)
    train, held_split = loaded.train, loaded.test
    if validation:
        train, held_split = validation_split(loaded.train, size=1 / 6, seed=0)
    images, labels = train.inputs[:subset], train.labels[:subset]
    images = images.reshape(len(images), -1)

    def scaled(x: Any) -> Any:
        return x.astype(jnp.float32) / 127.5 - 1

    seen = scaled(images[:5000])
    axes = np.linalg.eigh(np.cov(seen, rowvar=False))[1][:, ::-1][:, :COMPONENTS].astype(np.float32)
    names = [f"component {i + 1}" for i in range(COMPONENTS)]
    held = scaled(held_split.inputs.reshape(len(held_split), -1))
    return Rows(images, labels, held, scaled, lambda x: x @ axes, names, loaded)


def balanced(rows: Rows, size: int) -> np.ndarray:
    """Return labels with equal shares of the classes, in turns."""
    return np.arange(size) % (int(rows.labels.max()) + 1)


def report_samples(
    stage: Stage,
    rows: Rows,
    samples: Mapping[str, tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"] | None]],
    *,
    seed: int,
    judge_epochs: int,
) -> None:
    """Measure every set of samples, the first one for the table, and keep pictures.

    Arguments:
        samples: name -> (predictions of the data, the data node itself where there is one).
    """
    with stage.timed("evaluate"):
        if rows.pictures:
            _report_images(stage, rows, samples, seed, judge_epochs)
        else:
            _report_features(stage, rows, samples, seed)


def _report_features(stage: Stage, rows: Rows, samples: Mapping[str, Any], seed: int) -> None:
    record = stage.record
    assert record.test is not None
    target = np.tile(rows.held, (max(1, len(rows.train) // len(rows.held)), 1))
    size = min(len(rows.train), len(target))
    floor = likeness.earth_mover(np.asarray(rows.train[:size]), target[:size])
    states = next(found[1] for found in samples.values() if found[1] is not None)
    few = _distances(states, rows.held, 1, SETS, seed)
    many = _distances(states, rows.held, MANY, SETS // MANY, seed)
    record.test |= {
        "earth mover's distance": float(np.mean(many)),
        "of the training half": floor,
        "ratio": float(np.mean(many)) / floor,
        "distance, equal numbers": float(np.mean(few)),
        "low, equal numbers": float(np.quantile(few, 0.025)),
        "high, equal numbers": float(np.quantile(few, 0.975)),
    }
    record.shown = ["earth mover's distance", "of the training half", "ratio", "distance, equal numbers"]
    shown = ("split R-hat", "effective samples", "covariance error", "covariance error (standard errors)")
    record.shown += [name for name in shown if name in record.test]
    squares = [_histogram(x) for x in (rows.train, rows.held, states)]
    stage.keep_arrays({"histograms": np.stack(squares)[None]})
    reading = "Sepal length to the right, petal length upwards, from -2.5 to 2.5 standard deviations; brighter is more."
    record.images.append(
        Images("Flowers: training half, held-out half, samples", "histograms", ["training, held out, samples"], reading)
    )


def _distances(states: np.ndarray, held: np.ndarray, times: int, sets: int, seed: int) -> list[float]:
    """Return the distances of sets of samples to what is held out, with `times` samples for every held-out one."""
    random = np.random.default_rng(seed)
    size = times * len(held)
    target = np.tile(held, (times, 1))  # every held-out sample has the weight of `times` samples
    return [likeness.earth_mover(states[random.choice(len(states), size)], target) for _ in range(sets)]


def _histogram(points: np.ndarray) -> np.ndarray:
    counts, _, _ = np.histogram2d(points[:, 1], points[:, 0], BINS, range=[[-2.5, 2.5]] * 2)
    return (255 * np.sqrt(counts[::-1] / counts.max())).astype(np.uint8)


def _report_images(stage: Stage, rows: Rows, samples: Mapping[str, Any], seed: int, judge_epochs: int) -> None:
    assert rows.data is not None
    record = stage.record
    assert record.test is not None
    judge = Judge(stage, rows.data, epochs=judge_epochs)
    real = likeness.moments(judge(_grey(rows.held, rows))[0])
    for number, (name, (found, _)) in enumerate(samples.items()):
        features, probabilities = judge(_grey(found, rows))
        suffix = "" if number == 0 else f" ({name})"
        fid = likeness.frechet(likeness.moments(features), real)
        score = likeness.inception_score(probabilities)
        record.test |= {f"FID{suffix}": fid, f"inception score{suffix}": score, f"samples{suffix}": float(len(found))}
        if number == 0:
            record.test |= {
                "FID 95 % ±": likeness.half_interval(
                    lambda x: likeness.frechet(likeness.moments(x), real), features, seed=seed
                ),
                "inception score 95 % ±": likeness.half_interval(likeness.inception_score, probabilities, seed=seed),
            }
    size = int(record.test["samples"])
    ours = judge(_grey(rows.scaled(rows.train[:size]), rows))[0]
    record.test |= {
        "FID of training images": likeness.frechet(likeness.moments(ours), real),
        "accuracy of the judge": judge.accuracy,
    }
    record.shown = ["FID", "FID 95 % ±", "inception score", "inception score 95 % ±", "FID of training images"]
    record.shown += [name for name in record.test if name.startswith("FID (")]
    record.shown += [n for n in ("accuracy of the judge", "split R-hat", "effective samples") if n in record.test]
    _report_grid(stage, rows, next(iter(samples.values()))[0], seed)


def _report_grid(stage: Stage, rows: Rows, found: np.ndarray, seed: int) -> None:
    chosen = np.sort(np.random.default_rng(seed).choice(len(found), min(len(found), GRID * GRID), replace=False))
    columns = max(1, len(chosen) // GRID)
    images = _grey(found[chosen[: columns * GRID]], rows)[..., 0]
    stage.keep_arrays({"grid": images.reshape(GRID, columns, *images.shape[1:])})
    stage.record.images.append(
        Images("Samples", "grid", [""] * GRID, "Drawn at random from all samples, none left out.")
    )


def report_film(stage: Stage, rows: Rows, film: Float[np.ndarray, "f t d"], *, every: int) -> None:
    """Keep pictures of the first chains on their way from the start, at steps that grow in equal ratios."""
    times = np.unique(np.geomspace(1, film.shape[1], FRAMES).round().astype(int)) - 1
    chains, units = film.shape[0], film.shape[2]
    images = _grey(np.nan_to_num(film[:, times]).reshape(-1, units), rows)[..., 0]
    stage.keep_arrays({"film": images.reshape(chains, len(times), *images.shape[1:])})
    steps = ", ".join(str(every * (t + 1)) for t in times)
    stage.record.images.append(
        Images("Chains from their start", "film", [f"chain {i + 1}" for i in range(chains)], f"After {steps} steps.")
    )


def _grey(values: np.ndarray, rows: Rows) -> np.ndarray:
    """Return images of uint8 for values of the data node in -1..1; what lies outside is cut."""
    assert rows.data is not None
    grey = np.clip((values + 1) * 127.5, 0, 255).round().astype(np.uint8)
    return grey.reshape(len(values), *rows.data.train.inputs.shape[1:])


def is_linear(network: Network) -> bool:
    """Say whether the energy is quadratic in the states: Gaussian nodes and constant second derivatives."""
    if not all(isinstance(term.density, Gaussian) for term in network.term_list):  # type: ignore[attr-defined]
        return False
    here, there = (np.asarray(_hessian(network, jnp.asarray(scale))) for scale in (0.0, 1.0))
    return bool(np.allclose(here, there, atol=1e-5))


@eqx.filter_jit
def _hessian(network: Network, scale: Float[Array, ""]) -> Float[Array, "n n"]:
    """Return the second derivatives of the energy in the free states of a network whose first node is held at zero."""
    source = network.node_shapes[0][0]
    free = {name: jnp.full(shape, scale) for name, shape in network.node_shapes if name != source}
    vector, rebuild = ravel_pytree(free)
    held = {source: jnp.zeros(network.shapes[source])}
    return jax.hessian(lambda v: network.energy(held | rebuild(v)))(vector)


def model_covariance(network: Network, temperature: float) -> Float[np.ndarray, "d d"]:
    """Return the covariance of the data node of a linear network: its block of T times the inverse Hessian."""
    source, output = network.node_shapes[0][0], network.output
    names = sorted(name for name, _ in network.node_shapes if name != source)  # a dict is flattened by sorted name
    start = sum(int(np.prod(network.shapes[name])) for name in names[: names.index(output or "")])
    size = int(np.prod(network.shapes[output or ""]))
    inverse = temperature * np.linalg.inv(np.asarray(_hessian(network, jnp.asarray(0.0)), float))
    return inverse[start : start + size, start : start + size]


def report_covariance(stage: Stage, network: Network, drawn: Drawn, solver: Langevin) -> None:
    """Hold the covariance of the draws of a linear network against the closed form, in standard errors too.

    Each entry is the mean of a product of deviations, whose effective number of draws gives its standard error.

    Arguments:
        drawn: with the watched statistics less their means.
    """
    from arviz_stats.base import array_stats

    assert stage.record.test is not None
    exact = model_covariance(network, solver.temperature)
    centred = drawn.watched
    sampled = np.einsum("cti,ctj->ij", centred, centred) / centred[..., 0].size
    worst = 0.0
    for i, j in zip(*np.triu_indices(len(exact)), strict=True):
        product = centred[..., i] * centred[..., j]
        error = product.std() / np.sqrt(float(array_stats.ess(product, method="mean")))
        worst = max(worst, abs(sampled[i, j] - exact[i, j]) / error)
    stage.record.test |= {
        "covariance error": float(np.linalg.norm(sampled - exact) / np.linalg.norm(exact)),
        "covariance error (standard errors)": float(worst),
    }
