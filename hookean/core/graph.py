"""What follows from the graph alone: an order of evaluation, and which terms can have moved after t steps."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from .term import AbstractTerm, Prediction


def predictions(terms: Mapping[str, AbstractTerm]) -> dict[str, Prediction]:
    """Return the prediction terms, by name."""
    return {name: term for name, term in terms.items() if isinstance(term, Prediction)}


def forward_order(terms: Mapping[str, AbstractTerm], known: Iterable[str]) -> tuple[list[str], list[str]]:
    """Order the predictions of unknown nodes so that each comes after its sources.

    A node that nothing predicts counts as known. Where several terms predict one node the first one gives its value. A
    sequence that is predicted from its own past is no cycle.

    Returns:
        (names of terms in order of evaluation, nodes that cannot be ordered because they lie on or behind a cycle).
    """
    first: dict[str, str] = {}
    found = predictions(terms)
    for name, term in found.items():
        first.setdefault(term.target, name)
    ready = set(known)
    waiting = {node: name for node, name in first.items() if node not in ready}
    order: list[str] = []
    progress = True
    while waiting and progress:
        progress = False
        for node, name in list(waiting.items()):
            if not any(source in waiting for source in found[name].needs):
                order.append(name)
                del waiting[node]
                progress = True
    return order, list(waiting)


def unpredicted(terms: Mapping[str, AbstractTerm]) -> list[str]:
    """Return the nodes that predictions read and nothing predicts, in order: inputs and free latents."""
    found = predictions(terms).values()
    targets = {term.target for term in found}
    return list(dict.fromkeys(node for term in found for node in term.sources if node not in targets))


def constant_predictions(terms: Mapping[str, AbstractTerm], clamped: Collection[str]) -> list[str]:
    """Return the prediction terms whose sources are all clamped: their prediction never changes while states relax."""
    return [name for name, term in predictions(terms).items() if set(term.sources) <= set(clamped)]


def waves(terms: Mapping[str, AbstractTerm], free: Collection[str], restless: Collection[str]) -> list[frozenset[str]]:
    """Return, step by step, the terms whose gradient can differ from zero, until the set stops growing.

    At first only `restless` terms have a gradient. A step moves the free nodes that they touch, and then every term
    that touches a moved node has one. The last set holds for all later steps.
    """
    active = frozenset(restless)
    sets = [active]
    while True:
        moved = touched(terms, free, active)
        grown = active | {name for name, term in terms.items() if moved & set(term.nodes)}
        if grown == active:
            return sets
        active = grown
        sets.append(active)


def touched(terms: Mapping[str, AbstractTerm], free: Collection[str], active: Collection[str]) -> frozenset[str]:
    """Return the free nodes that the `active` terms read, which are the nodes that they can move."""
    return frozenset(node for name in active for node in terms[name].nodes if node in free)


def levels(terms: Mapping[str, AbstractTerm], output: str) -> Sequence[Sequence[str]] | None:
    """Group the prediction terms by their number of terms from `output`, nearest first.

    Returns None where a node reaches the output by paths of different length, where terms are not predictions, where
    a term does not lead to the output, where two terms predict one node, or where the graph has a cycle.
    """
    found = predictions(terms)
    if len(found) < len(terms):
        return None
    grouped: list[list[str]] = []
    seen: set[str] = set()
    front = {output}
    while front:
        if front & seen:
            return None
        seen |= front
        names = [name for name, term in found.items() if term.target in front]
        if names:
            grouped.append(names)
        front = {source for name in names for source in found[name].sources}
    targets = {found[name].target for names in grouped for name in names}
    return grouped if len(targets) == len(found) else None


def chain(terms: Mapping[str, AbstractTerm], start: str | None, end: str | None) -> list[str] | None:
    """Return the names of the terms that lead from `start` to `end`, in order, where the graph is one such chain.

    Returns None where a term has several sources or is no prediction, where two terms share a source or a target, or
    where a term is left over.
    """
    found = predictions(terms)
    by_source = {term.sources[0]: name for name, term in found.items() if len(term.sources) == 1}
    if start is None or end is None or len(by_source) < len(terms):
        return None
    order: list[str] = []
    node = start
    while node in by_source and len(order) < len(terms):
        order.append(by_source[node])
        node = found[order[-1]].target
    targets = {found[name].target for name in order}
    return order if node == end and len(order) == len(terms) == len(targets) else None
