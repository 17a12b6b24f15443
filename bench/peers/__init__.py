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
    LAYERWISE: About("layerwise", ("layerwise",), how="`lw.train` and `Model.outputs`, from outside"),
    REFERENCE: About(
        "NumPy by hand",
        ("numpy",),
        how="in place, in arrays made beforehand; all weights in one vector, updated in blocks that stay in cache",
    ),
    "sklearn_mlp": About(
        "scikit-learn", ("scikit-learn",), how="`MLPClassifier` or `MLPRegressor`, `alpha=0`, no shuffling"
    ),
    "torch_eager": About(
        "PyTorch eager", ("torch",), how="`torch.autograd.grad` and the fused update in one call; `inference_mode`"
    ),
    "torch_compile": About(
        "torch.compile",
        ("torch",),
        how="the whole step, update included, as one graph (`fullgraph=True`), called through C++ (`cpp_wrapper`)",
    ),
    "jax_jit": About(
        "JAX", ("jax", "jaxlib"), how="`jit` of `lax.scan` over the batches of a block, on device, weights donated"
    ),
    "onnx_runtime": About(
        "ONNX Runtime", ("onnxruntime",), jobs=("predict",), how="`InferenceSession.run`, all graph optimisations"
    ),
}


def peers_for(job: str) -> list[str]:
    """Names of the peers that do this job, layerwise first."""
    return [name for name, about in PEERS.items() if job in about.jobs]
