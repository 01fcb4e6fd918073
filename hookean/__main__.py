"""`python -m hookean`: the command line."""

from .cli import main

main()
