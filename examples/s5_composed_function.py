# %% [markdown]
# # S5. The composed function, and a network that reconstructs its input
#
# A network is a composition of layers, each with its own activation:
#
# $$\hat y(x; \beta) = f_L \circ \dots \circ f_1 (x), \qquad \beta = (W^1, b^1, \dots, W^L, b^L) .$$
#
# This page takes four layers with four different activations, a squared cost and an identity output, computes the
# gradient sample by sample and entry by entry, and shows that it averages to the gradient of the batch. Then it
# trains an autoencoder, whose target is its own input, on images of clothing.

# %%
import numpy as np
from common import Picture, agree, chart, fashion_mnist, image, reaches, text

import layerwise as lw

# %% [markdown]
# ## Any activation in any layer
#
# The data: 64 samples of the table [Concrete Compressive Strength](https://doi.org/10.24432/C5PK67) (Yeh, UCI, CC
# BY 4.0), eight columns to the strength, standardised.

# %%
table = np.loadtxt("data/concrete.csv.gz", delimiter=",", skiprows=1)
table = (table - table.mean(axis=0)) / table.std(axis=0)
X, T = table[::16][:64, :8], table[::16][:64, 8:]
N = len(X)

net = lw.Network(
    [
        lw.Input(8),
        lw.Dense(12, "tanh"),
        lw.Dense(10, "softplus"),
        lw.Dense(6, lw.Activation("leaky_relu", alpha=0.2)),
        lw.Dense(1, "identity"),
    ],
    loss="squared_error",
)
params = net.initialise(seed=7)
L = len(net.layers)
print(net)

# %% [markdown]
# The functions and their derivatives, as they stand on paper:

# %%
f = [None, np.tanh, lambda z: np.log(1 + np.exp(z)), lambda z: np.where(z > 0, z, 0.2 * z), lambda z: z]
df = [
    None,
    lambda z: 1 - np.tanh(z) ** 2,
    lambda z: 1 / (1 + np.exp(-z)),  # the derivative of softplus is the sigmoid
    lambda z: np.where(z > 0, 1, 0.2),
    lambda z: np.ones_like(z),
]


def forward(X):
    """Z^1 … Z^L and A^0 … A^L."""
    Z, A = [None], [X]
    for layer in range(1, L + 1):
        Z.append(A[layer - 1] @ params[f"W{layer}"] + params[f"b{layer}"])
        A.append(f[layer](Z[layer]))
    return Z, A


def gradients(X, T):
    """The gradient of C = (1/N) Σ (ŷ - t)² by every parameter, and Δ^1 … Δ^L."""
    Z, A = forward(X)
    grads, delta = {}, [None] * (L + 1)
    delta[L] = 2 / len(X) * (A[L] - T) * df[L](Z[L])
    for layer in range(L, 0, -1):
        if layer < L:
            delta[layer] = (delta[layer + 1] @ params[f"W{layer + 1}"].T) * df[layer](Z[layer])
        grads[f"W{layer}"] = A[layer - 1].T @ delta[layer]
        grads[f"b{layer}"] = delta[layer].sum(axis=0)
    return grads, delta


# %% [markdown]
# The squared error $L = (\hat y - t)^2$ has the derivative $2 (\hat y - t)$, of first degree; with the identity at
# the output the seed is $\Delta^L = \frac2N (A^L - T)$.

# %%
cost, grads = net.cost_and_gradients(params, X, T)
by_hand, _ = gradients(X, T)
agree("the outputs agree", forward(X)[1][L], net.forward(params, X))
agree("the costs agree", np.mean((forward(X)[1][L] - T) ** 2), cost)
for key in grads:
    agree(f"∂C/∂{key} {grads[key].shape}", by_hand[key], grads[key])

# %% [markdown]
# ## Sample by sample, then averaged
#
# Feed the network one sample at a time, $N = 1$. Since $C = \frac1N \sum_n L_n$, the gradient of the batch is the
# average of the gradients of its samples:
#
# $$\frac{\partial C}{\partial W^l} = \frac1N \sum_{n=1}^N \frac{\partial L_n}{\partial W^l} .$$

# %%
single = [net.cost_and_gradients(params, X[[n]], T[[n]])[1] for n in range(N)]
for key in grads:
    agree(f"the average of {N} single ∂L/∂{key} is ∂C/∂{key}", np.mean([g[key] for g in single], axis=0), grads[key])

# %% [markdown]
# The library also gives all of them at once: the Jacobian of the losses, one row a sample. In Jacobian form a
# scalar by a matrix $(n_{l-1}, n_l)$ has shape $(n_l, n_{l-1})$, so the last two axes are exchanged.

# %%
graph = net.graph()
feeds = graph.feeds(params, X, T)
per_sample = lw.evaluate(lw.jacobian(graph.losses, graph.parameters["W2"]), feeds)
agree(f"∂L/∂W2 of all samples {per_sample.shape}", per_sample.transpose(0, 2, 1), np.stack([g["W2"] for g in single]))

# %% [markdown]
# ## Entry by entry
#
# Let $w_{mn}$ lead from unit $n$ of layer $l-1$ to unit $m$ of layer $l$ (in rows it is the entry $[n, m]$ of
# $W^l$). For one sample,
#
# $$\frac{\partial C}{\partial w_{mn}} = \frac{\partial C}{\partial a_m}\, f'(z_m)\, a_n ,$$
#
# and the samples add. Three nested loops, no matrix product; $\partial C / \partial a_m$ is read from the graph,
# where the activations are nodes like all others.

# %%
dC_dA = [None, *lw.evaluate(lw.gradient(graph.cost, graph.activations[1:]), feeds)]
Z, A = forward(X)
for layer in range(1, L + 1):
    n_in, n_out = params[f"W{layer}"].shape
    upstream, slopes, inputs = dC_dA[layer], df[layer](Z[layer]), A[layer - 1]
    entry_by_entry = np.zeros((n_in, n_out))
    for m in range(n_out):
        for n in range(n_in):
            for sample in range(N):
                entry_by_entry[n, m] += upstream[sample, m] * slopes[sample, m] * inputs[sample, n]
    agree(f"∂C/∂W{layer}, {entry_by_entry.size} entries one by one", entry_by_entry, grads[f"W{layer}"])

# %% [markdown]
# ## An autoencoder
#
# 784-256-64-256-784: the image is squeezed through 64 numbers and drawn again from them. The target is the input,
# $T = X$, so no labels are needed, and the cost is the squared error
# $C = \frac1N \sum_n \lVert \hat x_n - x_n \rVert^2$. Pixels lie between 0 and 1, so the output is a sigmoid; its
# seed keeps the slope, $\Delta^L = \frac2N (\hat X - X) \odot \hat X \odot (1 - \hat X)$. The middle layer is the
# identity: a code without a fold.

# %%
images, _ = fashion_mnist("train")
unseen, labels = fashion_mnist("t10k")

autoencoder = lw.Network(
    [
        lw.Input(784),
        lw.Dense(256, "relu"),
        lw.Dense(64, "identity"),
        lw.Dense(256, "relu"),
        lw.Dense(784, "sigmoid"),
    ],
    loss="squared_error",
)
start = autoencoder.initialise(seed=0)

graph = autoencoder.graph()
batch = images[:100]
feeds = graph.feeds(start, batch, batch)
seed, x_hat = lw.evaluate([lw.gradient(graph.cost, graph.pre_activations[-1]), graph.output], feeds)
agree("Δ4 = 2/N (x̂ - x) ⊙ x̂ ⊙ (1 - x̂)", seed, 2 / len(batch) * (x_hat - batch) * x_hat * (1 - x_hat))

# %% [markdown]
# Gradient descent with momentum in single precision: twelve passes, then four with a fifth of the learning rate.

# %%
first = lw.train(
    autoencoder, images, images, dtype="float32", optimizer=lw.Momentum(0.005, 0.9), batch_size=64, epochs=12, seed=0
)
last = lw.train(
    autoencoder, images, images, params=first.params, optimizer=lw.Momentum(0.001, 0.9), batch_size=64, epochs=4, seed=1
)
reconstructions = autoencoder.forward(last.params, unseen)

error = np.mean((reconstructions - unseen) ** 2)
error_of_the_mean = np.mean((images.mean(axis=0) - unseen) ** 2)
print(f"mean squared error of a pixel, unseen images: {error:.4f}; of the average image: {error_of_the_mean:.4f}")
reaches("share of the variance of unseen images explained", 1 - error / error_of_the_mean, 0.85)

# %%
chart(
    {"ρ = 0.005, then 0.001": [*first.history.cost, *last.history.cost]},
    "Reconstruction error of each pass over the training images",
    "epoch",
    "cost C",
)

# %% [markdown]
# One unseen image of each class above, its reconstruction from 64 numbers below:

# %%
parts = [text("x", 12, 52, size=15), text("x̂", 12, 132, size=15)]
for k in range(10):
    example = np.flatnonzero(labels == k)[0]
    for row, pixels in enumerate((unseen[example], reconstructions[example])):
        parts.append(image(np.round(255 * pixels.reshape(28, 28)), 28 + 82 * k, 8 + 80 * row, 76, 76))
Picture(852, 172, "".join(parts), "Ten images and their reconstructions")
