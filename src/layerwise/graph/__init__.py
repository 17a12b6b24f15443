"""Floor 1: the computation graph (nodes, their order, shapes) and differentiation, graph to graph."""
