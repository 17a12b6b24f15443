"""The peers, one file each; a file is imported only in the process that runs that peer.

A file has `train(task)` and `predict(task)`, or one of them; each gives a `Runner`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """What a report says of a peer.

    Parameters
    ----------
    label : str
    packages : tuple of str
        Whose versions count.
    jobs : tuple of str
        "train", "predict".
    how : str
        How it is used, in one sentence.
    """

    label: str
    packages: tuple[str, ...]
    jobs: tuple[str, ...] = ("train", "predict")
    how: str = ""


LAYERWISE = "layerwise_api"
REFERENCE = "numpy_by_hand"
"""Whose weights the others' are compared with."""

PEERS: dict[str, About] = {
    LAYERWISE: About(
        "layerwise",
        ("layerwise",),
        how="`lw.train` and `Model.outputs`, as anyone calls them: whole calls, with their checks and with shuffling",
    ),
    REFERENCE: About(
        "NumPy by hand",
        ("numpy",),
        how="every operation writes into an array made beforehand; all weights lie in one vector, which is updated in "
        "blocks that stay in cache",
    ),
    "sklearn_mlp": About(
        "scikit-learn",
        ("scikit-learn",),
        how="`MLPClassifier` and `MLPRegressor` with `alpha=0`, no Nesterov momentum, no stopping rule, no shuffling",
    ),
    "torch_eager": About(
        "PyTorch eager",
        ("torch",),
        how="`torch.autograd.grad`, then the fused update in one call, which on small networks saves a quarter to a "
        "third of the time of `backward()` and `optimizer.step()`; `inference_mode`",
    ),
    "torch_compile": About(
        "torch.compile",
        ("torch",),
        how="the whole step, update included, as one graph (`fullgraph=True`), called through C++; predictions also "
        "with weights frozen into the graph",
    ),
    "jax_jit": About(
        "JAX",
        ("jax", "jaxlib"),
        how="`jit` of `lax.scan` over all batches of a pass; data on the device, weights and state donated",
    ),
    "onnx_runtime": About(
        "ONNX Runtime",
        ("onnxruntime",),
        jobs=("predict",),
        how="`InferenceSession.run` with all optimisations of the graph; predictions only",
    ),
}


def peers_for(job: str) -> list[str]:
    """Names of the peers that do this job, layerwise first."""
    return [name for name, about in PEERS.items() if job in about.jobs]
