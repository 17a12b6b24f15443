"""Floor 6: network, weights and encoder as one Model: it predicts, is saved and is loaded."""
