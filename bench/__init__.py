"""Measurements of layerwise against its peers: `python -m bench.run`, or `make bench`."""
