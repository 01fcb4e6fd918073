"""How weights move: the energy gradient, the explicit Hebbian rule, the contrast of phases, backpropagation."""
