"""Floor 4: runs a Plan; NumPy is the definition."""
