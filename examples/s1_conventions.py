# %% [markdown]
# # S1. Columns and rows: one network, two ways to write it
#
# On paper a sample is usually a column and a layer reads $Z^l = W^l A^{l-1} + b^l$. In memory a sample is a row
# and the same layer reads $Z^l = A^{l-1} W^l + b^l$. Each matrix is the transpose of its counterpart and each
# product is reversed; nothing else changes. This page writes one network both ways, feeds both the same images,
# and checks that the costs are equal and that the gradients are transposes of each other.
#
# | | columns | rows |
# |---|---|---|
# | $X = A^0$ | $(n_0, N)$ | $(N, n_0)$ |
# | $W^l$ | $(n_l, n_{l-1})$ | $(n_{l-1}, n_l)$ |
# | $b^l$ | $(n_l, 1)$ | $(n_l,)$ |
# | $Z^l$, $A^l$, $\Delta^l$ | $(n_l, N)$ | $(N, n_l)$ |
#
# `agree` prints the largest difference between two arrays and raises an error when it is too large or when their
# shapes differ; `reaches` does the same for a share and its target. A page that you can read is a page whose
# checks have passed.

# %%
import numpy as np
from common import agree, fashion_mnist

import layerwise as lw

images, labels = fashion_mnist("train", 300)  # (N, 784) numbers from 0 to 1, (N,) labels from 0 to 9
one_hot = np.eye(10)[labels]  # (N, 10)
N = len(images)
n = [784, 64, 32, 10]  # the widths n_0 … n_L
L = len(n) - 1
print(f"{N} images of {images.shape[1]} pixels, {len(set(labels))} classes")

# %% [markdown]
# ## In columns, written by hand
#
# For $l = 1, \dots, L$
#
# $$Z^l = W^l A^{l-1} + b^l, \qquad A^l = f_l(Z^l),$$
#
# with $f_l = \tanh$ in the hidden layers and softmax over the outputs, $y_k = e^{z_k} / \sum_j e^{z_j}$. The lines
# below build the *graph* of this computation; no number is computed yet. `"N"` is an axis whose size is known only
# when data are fed. In code, $l$ is spelt `layer`. The library's softmax acts along a row, so here it stands between
# two transposes.

# %%
X = lw.input("X", (n[0], "N"))
T = lw.input("T", (n[L], "N"))
W = [None] + [lw.parameter(f"W{layer}", (n[layer], n[layer - 1])) for layer in range(1, L + 1)]
b = [None] + [lw.parameter(f"b{layer}", (n[layer], 1)) for layer in range(1, L + 1)]

Z, A = [None], [X]
for layer in range(1, L + 1):
    Z.append(W[layer] @ A[layer - 1] + b[layer])
    A.append(lw.tanh(Z[layer]) if layer < L else lw.softmax(Z[layer].T).T)

for layer in range(1, L + 1):
    print(f"layer {layer}: W {W[layer].shape}, b {b[layer].shape}, Z {Z[layer].shape}, A {A[layer].shape}")

# %% [markdown]
# The loss of sample $n$ is the cross-entropy $L_n = -\sum_k t_{kn} \log y_{kn}$, and the cost is its average over
# the samples:
#
# $$C = \frac1N \sum_{n=1}^N L_n .$$
#
# Classes run down a column, so the sum over classes is a sum over axis 0.

# %%
losses = lw.sum(-(T * lw.log(A[L])), axis=0)  # ("N",)
cost = lw.mean(losses)  # ()
gradients = lw.gradient(cost, W[1:] + b[1:])  # shape convention: each has the shape of its parameter

# %% [markdown]
# ## In rows, by the library
#
# `lw.Network` is the same network in the rows convention. Its starting weights, transposed, are the weights in
# columns.

# %%
net = lw.Network(n, hidden="tanh", output="softmax", loss="cross_entropy")
params = net.initialise(seed=1)  # W1 (784, 64), b1 (64,), …
columns = {W[layer]: params[f"W{layer}"].T for layer in range(1, L + 1)}
columns |= {b[layer]: params[f"b{layer}"][:, None] for layer in range(1, L + 1)}

C_columns, *grads_columns = lw.evaluate([cost, *gradients], {X: images.T, T: one_hot.T, **columns})
C_rows, grads_rows = net.cost_and_gradients(params, images, one_hot)

agree("the costs agree", C_columns, C_rows)
for layer in range(1, L + 1):
    for name, in_columns in ((f"W{layer}", grads_columns[layer - 1]), (f"b{layer}", grads_columns[L + layer - 1])):
        in_rows = np.atleast_2d(grads_rows[name])  # b (n_l,) is added to rows: as a matrix it is (1, n_l)
        agree(f"∂C/∂{name} {in_columns.shape} in columns is the transpose of {in_rows.shape}", in_columns, in_rows.T)

# %% [markdown]
# ## Backward, in columns
#
# The sensitivity $\Delta^l = \partial C / \partial Z^l$ starts at the output and moves down:
#
# $$\begin{aligned}
# \Delta^L &= \frac1N (A^L - T), & \frac{\partial C}{\partial W^l} &= \Delta^l (A^{l-1})^\top, \\
# \Delta^l &= \bigl( (W^{l+1})^\top \Delta^{l+1} \bigr) \odot f_l'(Z^l), &
# \frac{\partial C}{\partial b^l} &= \Delta^l \mathbf{1} .
# \end{aligned}$$
#
# For tanh, $f'(z) = 1 - \tanh^2 z = 1 - a^2$. The factor $1/N$ belongs to the cost; it enters once, with the seed
# $\Delta^L$, and nowhere else. Every line is computed in NumPy from the forward values and compared with what the
# library derived from the graph.

# %%
feeds = {X: images.T, T: one_hot.T, **columns}
a = lw.evaluate(A, {X: images.T, **columns})  # A^0 … A^L
delta_graph = [None, *lw.evaluate(lw.gradient(cost, Z[1:]), feeds)]

delta = (a[L] - one_hot.T) / N
for layer in range(L, 0, -1):
    if layer < L:
        delta = (columns[W[layer + 1]].T @ delta) * (1 - a[layer] ** 2)
    agree(f"Δ{layer} {delta.shape} by hand", delta, delta_graph[layer])
    agree(f"∂C/∂W{layer} = Δ{layer} (A{layer - 1})ᵀ by hand", delta @ a[layer - 1].T, grads_columns[layer - 1])
    agree(f"∂C/∂b{layer} = Δ{layer} 1 by hand", delta.sum(axis=1, keepdims=True), grads_columns[L + layer - 1])

# %% [markdown]
# ## One sample, and the average over many
#
# One sample is $N = 1$. The same graph takes it, because the size of `"N"` was never fixed; and since the cost is
# an average, both the cost and the gradient of the whole set are the averages of those of its samples.

# %%
singles = [lw.evaluate([cost, gradients[0]], {X: images[[k]].T, T: one_hot[[k]].T, **columns}) for k in range(N)]
agree("the average of the 300 single costs is the cost", np.mean([c for c, _ in singles]), C_columns)
agree("the average of the 300 single ∂C/∂W1 is ∂C/∂W1", np.mean([g for _, g in singles], axis=0), grads_columns[0])

# %% [markdown]
# ## Why cross-entropy: maximum likelihood
#
# Read $y_{kn}$ as the probability that the network gives to class $k$ for sample $n$. The likelihood of the
# observed labels $c_1, \dots, c_N$ is $\prod_n y_{c_n n}$. Maximising it is minimising the negative of its
# logarithm, and per sample that is
#
# $$-\frac1N \log \prod_{n=1}^N y_{c_n n} = -\frac1N \sum_{n=1}^N \log y_{c_n n}
#   = -\frac1N \sum_{n=1}^N \sum_k t_{kn} \log y_{kn} = C,$$
#
# because the one-hot target $t_{kn}$ picks the one term $k = c_n$. Picking by index needs no targets at all:

# %%
negative_log_likelihood = -np.mean(np.log(a[L][labels, np.arange(N)]))
agree("-(1/N) Σ log p(label) is the cost", negative_log_likelihood, C_columns)

# %% [markdown]
# ## Gradient descent with the whole data set fed at once
#
# $$W^l \leftarrow W^l - \rho \, \frac{\partial C}{\partial W^l}, \qquad
#   b^l \leftarrow b^l - \rho \, \frac{\partial C}{\partial b^l} .$$
#
# Sixty steps by hand in columns, and sixty steps by `lw.train` in rows (`batch_size=None`: all samples in every
# step). Both walk the same path.

# %%
rho, n_steps = 0.1, 60
weights, path = dict(columns), []
for _ in range(n_steps):
    C, *grads = lw.evaluate([cost, *gradients], {X: images.T, T: one_hot.T, **weights})
    path.append(C)
    weights = {p: weights[p] - rho * g for p, g in zip(W[1:] + b[1:], grads, strict=True)}

fit = lw.train(net, images, one_hot, params=params, optimizer=lw.SGD(rho), batch_size=None, epochs=n_steps)

agree("the costs of all 60 steps agree", path, fit.history.cost)
for layer in range(1, L + 1):
    agree(f"W{layer} after 60 steps, in columns and in rows", weights[W[layer]], fit.params[f"W{layer}"].T)
assert path[-1] < path[0]
print(f"the cost fell from {path[0]:.3f} to {path[-1]:.3f}; log 10 = {np.log(10):.3f} is the cost of knowing nothing")
