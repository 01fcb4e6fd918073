"""The other topologies and rivals by name, one file each. What is exported here is registered."""

from .vae import VAE as VAE
