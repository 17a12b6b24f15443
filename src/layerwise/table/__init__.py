"""Tables in, matrices out: reading files and DataFrames, encoding inputs and targets.

Floor 1, beside `graph`: this room knows nothing of networks, and it is the only one that imports
DataFrame and file libraries (narwhals and DuckDB, both only when they are needed).
"""
