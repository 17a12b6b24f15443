# %% [markdown]
# # S2. A vectorised two-layer classifier of images
#
# 784 inputs, 1000 hidden units with ReLU, 10 outputs with softmax, averaged cross-entropy, one-hot targets. All
# samples of a batch pass through every equation at once, one sample a row:
#
# $$\begin{aligned}
# Z_h &= X W_h + b_h, & A_h &= \max(0, Z_h), \\
# Z_o &= A_h W_o + b_o, & Y &= \operatorname{softmax}(Z_o), & C &= -\frac1N \sum_{n,k} t_{nk} \log y_{nk} .
# \end{aligned}$$
#
# The data are the first 9,400 training images and the first 2,000 test images of
# [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist) (MIT licence), shipped with the examples.

# %%
import numpy as np
from common import CLASSES, Picture, agree, chart, fashion_mnist, image, reaches, text

import layerwise as lw

X_train, labels_train = fashion_mnist("train")
X_test, labels_test = fashion_mnist("t10k")
T_train = np.eye(10)[labels_train]  # one-hot: row k of the identity matrix for label k
print(f"X {X_train.shape}, T {T_train.shape}; test images {X_test.shape}")

# %%
net = lw.Network([784, 1000, 10], hidden="relu", output="softmax", loss="cross_entropy")
params = net.initialise(seed=0)
print(f"{net.n_parameters:,} parameters: {net.parameter_shapes}")

# %% [markdown]
# ## Forward, by hand
#
# The softmax is computed shifted by the largest entry of its row, which changes nothing on paper
# ($e^{z_k - m} / \sum_j e^{z_j - m} = e^{z_k} / \sum_j e^{z_j}$) and on a machine keeps $e^z$ from overflowing.

# %%
X, T = X_train[:500], T_train[:500]
N = len(X)
W_h, b_h, W_o, b_o = (params[name] for name in ("W1", "b1", "W2", "b2"))


def softmax(Z):
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


Z_h = X @ W_h + b_h  # (N, 1000)
A_h = np.maximum(0, Z_h)
Z_o = A_h @ W_o + b_o  # (N, 10)
Y = softmax(Z_o)
C = -np.mean(np.sum(T * np.log(Y), axis=1))

cost, grads = net.cost_and_gradients(params, X, T)
agree("the outputs agree", Y, net.forward(params, X))
agree("the costs agree", C, cost)

# %% [markdown]
# ## Backward, by hand
#
# Softmax and cross-entropy together have the short seed $\Delta_o = \frac1N (Y - T)$. It follows from the full
# Jacobian of the softmax, $\partial y_k / \partial z_j = y_k (\delta_{kj} - y_j)$:
#
# $$\frac{\partial L}{\partial z_j} = -\sum_k \frac{t_k}{y_k}\, y_k (\delta_{kj} - y_j)
#   = y_j \sum_k t_k - t_j = y_j - t_j .$$
#
# From there, with $\max(0, z)' = 1$ for $z > 0$ and $0$ otherwise,
#
# $$\begin{aligned}
# \Delta_o &= \frac1N (Y - T), &
# \frac{\partial C}{\partial W_o} &= A_h^\top \Delta_o, &
# \frac{\partial C}{\partial b_o} &= \mathbf{1}^\top \Delta_o, \\
# \Delta_h &= (\Delta_o W_o^\top) \odot [Z_h > 0], &
# \frac{\partial C}{\partial W_h} &= X^\top \Delta_h, & \frac{\partial C}{\partial b_h} &= \mathbf{1}^\top \Delta_h .
# \end{aligned}$$
#
# The gradient of a bias is a *sum over the samples*, axis 0: the bias is added to every row, so every row sends a
# part back.

# %%
delta_o = (Y - T) / N
dW_o = A_h.T @ delta_o
db_o = delta_o.sum(axis=0)
delta_h = (delta_o @ W_o.T) * (Z_h > 0)
dW_h = X.T @ delta_h
db_h = delta_h.sum(axis=0)

for name, mine, key in (("W_o", dW_o, "W2"), ("b_o", db_o, "b2"), ("W_h", dW_h, "W1"), ("b_h", db_h, "b1")):
    agree(f"∂C/∂{name} {mine.shape}, norm {np.linalg.norm(mine):.4f}", mine, grads[key])

# %% [markdown]
# The short seed is an identity between formulas, so the long way must give the same numbers: multiply the gradient
# by $y$ with the Jacobian, one matrix for each sample. The library builds these matrices too.

# %%
dC_dY = -T / Y / N
jacobians = Y[:, :, None] * (np.eye(10) - Y[:, None, :])  # [n, k, j] = ∂y_k/∂z_j of sample n
agree("the seed through the full Jacobian of the softmax", np.einsum("nk,nkj->nj", dC_dY, jacobians), delta_o)

z = lw.input("z", ("N", 10))
agree("the Jacobian by lw.jacobian", lw.evaluate(lw.jacobian(lw.softmax(z), z), {z: Z_o}), jacobians)

# %% [markdown]
# ## Training
#
# Gradient descent with momentum, $V \leftarrow \mu V + \partial C / \partial W$, $W \leftarrow W - \rho V$, in
# batches of 128 samples and in single precision (float32). Eight passes with $\rho = 0.1$, then three with a tenth
# of it: the first phase travels, the second settles.

# %%
single = net.initialise(seed=0, dtype="float32")
travel = lw.train(
    net, X_train, T_train, params=single, optimizer=lw.Momentum(0.1, 0.9), batch_size=128, epochs=8, seed=0
)
settle = lw.train(
    net, X_train, T_train, params=travel.params, optimizer=lw.Momentum(0.01, 0.9), batch_size=128, epochs=3, seed=1
)

outputs = net.forward(settle.params, X_test)
predicted = outputs.argmax(axis=1)
print(f"cost {travel.history[0].cost:.3f} -> {settle.history[-1].cost:.3f}")
reaches("accuracy on 2,000 unseen test images", np.mean(predicted == labels_test), 0.85)

# %%
chart(
    {"ρ = 0.1, then 0.01": [*travel.history.cost, *settle.history.cost]},
    "Cost of each pass over the training images",
    "epoch",
    "cost C",
)

# %% [markdown]
# Above, the first ten test images with the predicted class and its probability. Below, the first ten that the network
# gets wrong, with what they are.

# %%
parts = []
for row, chosen in enumerate((range(10), np.flatnonzero(predicted != labels_test)[:10])):
    for column, k in enumerate(chosen):
        x, y = 8 + 84 * column, 8 + 126 * row
        right = predicted[k] == labels_test[k]
        parts.append(image(255 * X_test[k].reshape(28, 28), x, y, 72, 72))
        parts.append(text(CLASSES[predicted[k]], x + 36, y + 89, colour="currentColor" if right else "#e08e1b"))
        parts.append(text(f"{100 * outputs[k].max():.0f} %", x + 36, y + 104, size=11))
        if not right:
            parts.append(text(f"is: {CLASSES[labels_test[k]]}", x + 36, y + 119, size=11))
Picture(848, 260, "".join(parts), "Test images with their predicted classes")

# %% [markdown]
# Where the 2,000 predictions go: a row for each true class, a column for each predicted one. Shirts, T-shirts,
# pullovers and coats are mistaken for each other; trousers, bags and boots hardly ever.

# %%
confusion = np.zeros((10, 10), int)
np.add.at(confusion, (labels_test, predicted), 1)
print(f"{'':>9}" + "".join(f"{name[:6]:>7}" for name in CLASSES))
for name, row in zip(CLASSES, confusion, strict=True):
    print(f"{name:>9}" + "".join(f"{count or '.':>7}" for count in row))
