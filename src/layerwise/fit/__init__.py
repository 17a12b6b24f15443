"""Floor 6: from data and a network to weights: minibatches, stopping, history."""
