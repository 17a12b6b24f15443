"""``python -m layerwise``: the command line."""

from layerwise.cli.main import main

main()
