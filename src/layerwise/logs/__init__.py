"""Floor 7: epochs of a fit written down, for other programs to read: CSV, TensorBoard, MLflow."""
