"""Floor 5: layer sizes to graph; losses, starting weights, update rules, costs and gradients."""
