"""ONNX Runtime: the network as Gemm nodes in a graph that it optimises once."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from bench.peers.base import Runner, Task, threads_label


def _graph(task: Task) -> bytes:
    w = task.workload
    nodes, constants, last = [], [], "X"
    for n, (W, b) in enumerate(task.start(), start=1):
        constants += [numpy_helper.from_array(W, f"W{n}"), numpy_helper.from_array(b, f"b{n}")]
        nodes.append(helper.make_node("Gemm", [last, f"W{n}", f"b{n}"], [f"Z{n}"]))
        activation = w.output if n == len(w.layers) else w.hidden
        name = {"relu": "Relu", "tanh": "Tanh", "softmax": "Softmax", "sigmoid": "Sigmoid"}[activation]
        nodes.append(helper.make_node(name, [f"Z{n}"], [f"A{n}"]))
        last = f"A{n}"
    graph = helper.make_graph(
        nodes,
        w.network,
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [task.rows, w.widths[0]])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [task.rows, w.widths[-1]])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


class _Predict(Runner):
    def __init__(self, task: Task):
        self.X, graph = task.rows_to_predict(), _graph(task)
        self.sessions = {threads_label(n): self._session(graph, n) for n in task.thread_choices}
        self.choices = tuple(self.sessions)

    def _session(self, graph: bytes, threads: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def use(self, choice: str) -> None:
        self.session = self.sessions[choice]

    def run(self, n: int) -> None:
        run, feed = self.session.run, {"X": self.X}
        for _ in range(n):
            A = run(None, feed)
        self.A = A

    def result(self) -> list[np.ndarray]:
        return self.A


predict = _Predict
