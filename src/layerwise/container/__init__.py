"""Floor 0: one JSON document and named arrays in one file that is whole or refused; knows nothing of networks."""
