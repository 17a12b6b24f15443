"""Floor 3: a graph becomes a Plan, a list of instructions in the order in which they run."""
