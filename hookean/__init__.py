"""Hookean: networks that learn by relaxing an energy."""
