"""Floor 2: the op table; every op is declared once, with its value, derivative, printed form and kernel."""
