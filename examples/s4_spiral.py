# %% [markdown]
# # S4. An N-layer classifier on the spiral
#
# 300 points in the plane, in three classes that wind around each other. A straight line cannot part them; a network
# with one hidden layer can, if it is wide enough. This page writes every gradient by hand for any number of layers,
# checks it on 2-4-3 and on 2-100-3, and trains both by gradient descent with all 300 points in every step.

# %%
import numpy as np
from common import COLOURS, Picture, agree, chart, image, reaches, text

import layerwise as lw

# %% [markdown]
# ## The points
#
# Class $k = 0, 1, 2$ has 100 points at radius $r = 0 \dots 1$ and angle $\theta = 4k \dots 4(k+1)$, both in even
# steps, the angle with normal noise of deviation 0.2: $x = (r \sin\theta, r \cos\theta)$. Karpathy's course notes
# ([CS231n](https://cs231n.github.io/neural-networks-case-study/)) made these points popular.

# %%
rng = np.random.default_rng(0)
points, labels = [], []
for k in range(3):
    r = np.linspace(0, 1, 100)
    theta = np.linspace(4 * k, 4 * (k + 1), 100) + 0.2 * rng.standard_normal(100)
    points.append(np.column_stack([r * np.sin(theta), r * np.cos(theta)]))
    labels += [k] * 100
X, labels = np.vstack(points), np.array(labels)  # (300, 2), (300,)
T = np.eye(3)[labels]  # (300, 3), one-hot
N = len(X)
print(f"{N} points, {np.bincount(labels)} a class")

# %% [markdown]
# ## Every gradient by hand
#
# Forward, for $l = 1, \dots, L$, and cost:
#
# $$\begin{aligned}
# Z^l &= A^{l-1} W^l + b^l, & A^l &= \max(0, Z^l) \quad (l < L), \\
# A^L &= \operatorname{softmax}(Z^L), & C &= -\frac1N \sum_{n,k} t_{nk} \log a^L_{nk} .
# \end{aligned}$$
#
# Backward, for $l = L, \dots, 1$:
#
# $$\begin{aligned}
# \Delta^L &= \frac1N (A^L - T), & \frac{\partial C}{\partial W^l} &= (A^{l-1})^\top \Delta^l, \\
# \Delta^l &= \bigl( \Delta^{l+1} (W^{l+1})^\top \bigr) \odot [Z^l > 0], &
# \frac{\partial C}{\partial b^l} &= \mathbf{1}^\top \Delta^l, \\
# & & \frac{\partial C}{\partial X} &= \Delta^1 (W^1)^\top .
# \end{aligned}$$
#
# The second layer reads $A^1$, not $Z^1$: $Z^2 = A^1 W^2 + b^2$.


# %%
def forward(params, X):
    """All Z^l and A^l; index 0 of A is X."""
    L = len(params) // 2
    Z, A = [None], [X]
    for layer in range(1, L + 1):
        Z.append(A[layer - 1] @ params[f"W{layer}"] + params[f"b{layer}"])
        if layer < L:
            A.append(np.maximum(0, Z[layer]))
        else:
            E = np.exp(Z[layer] - Z[layer].max(axis=1, keepdims=True))
            A.append(E / E.sum(axis=1, keepdims=True))
    return Z, A


def cost_and_gradients(params, X, T):
    """C, its gradient by every parameter, and by X."""
    L, N = len(params) // 2, len(X)
    Z, A = forward(params, X)
    grads = {}
    delta = (A[L] - T) / N
    for layer in range(L, 0, -1):
        grads[f"W{layer}"] = A[layer - 1].T @ delta
        grads[f"b{layer}"] = delta.sum(axis=0)
        delta = delta @ params[f"W{layer}"].T  # ∂C/∂A^(l-1)
        if layer > 1:
            delta = delta * (Z[layer - 1] > 0)  # ∂C/∂Z^(l-1)
    return -np.mean(np.sum(T * np.log(A[L]), axis=1)), grads, delta


# %% [markdown]
# Compared with the gradients that the library derives from the graph, for the two networks of this page and for a
# deeper one:

# %%
for widths in ([2, 4, 3], [2, 100, 3], [2, 16, 12, 8, 3]):
    net = lw.Network(widths, hidden="relu", output="softmax")
    params = net.initialise(seed=3)
    C, by_hand, dX = cost_and_gradients(params, X, T)
    cost, grads = net.cost_and_gradients(params, X, T)
    name = "-".join(map(str, widths))
    agree(f"{name}: cost {C:.4f}", C, cost)
    for key in grads:
        agree(f"{name}: ∂C/∂{key} {by_hand[key].shape}", by_hand[key], grads[key])
    graph = net.graph()
    feeds = graph.feeds(params, X, T)
    agree(f"{name}: ∂C/∂X {dX.shape}", dX, lw.evaluate(lw.gradient(graph.cost, graph.inputs), feeds))

# %% [markdown]
# A formula can be right on paper and two programs can share a mistake, so one more witness that knows no formula:
# the central difference $\bigl(C(w + h) - C(w - h)\bigr) / 2h$ for each of the 27 parameters of 2-4-3.

# %%
net = lw.Network([2, 4, 3], hidden="relu", output="softmax")
params = net.initialise(seed=3)
_, by_hand, _ = cost_and_gradients(params, X, T)
h = 1e-6
for key, W in params.items():
    difference = np.zeros_like(W)
    for place in np.ndindex(W.shape):
        up, down = ({**params, key: W.copy()} for _ in range(2))
        up[key][place] += h
        down[key][place] -= h
        difference[place] = (cost_and_gradients(up, X, T)[0] - cost_and_gradients(down, X, T)[0]) / (2 * h)
    # The bound is the method's: rounding gives 1e-16 / h, a kink of the ReLU inside the step more.
    agree(f"∂C/∂{key} and central differences", by_hand[key], difference, 1e-6)

# %% [markdown]
# ## Gradient descent on all 300 points
#
# $W^l \leftarrow W^l - \rho \, \partial C / \partial W^l$ and the same for $b^l$, with $\rho = 1$ and all points in
# every step. By hand and by `lw.train`, the first 100 steps are the same steps.

# %%
wide = lw.Network([2, 100, 3], hidden="relu", output="softmax")
start = wide.initialise(seed=0)

mine = dict(start)
costs = []
for _ in range(100):
    C, grads, _ = cost_and_gradients(mine, X, T)
    costs.append(C)
    mine = {key: mine[key] - 1.0 * grads[key] for key in mine}

fit = lw.train(wide, X, T, params=start, optimizer=lw.SGD(1.0), batch_size=None, epochs=100)
agree("the costs of 100 steps by hand and by lw.train", costs, fit.history.cost, 1e-9)

# %%
small = lw.Network([2, 4, 3], hidden="relu", output="softmax")
fits = {
    "2-4-3": lw.train(small, X, T, optimizer=lw.SGD(0.3), batch_size=None, epochs=4000, seed=1),
    "2-100-3": lw.train(wide, X, T, params=start, optimizer=lw.SGD(1.0), batch_size=None, epochs=4000),
}
accuracy = {}
for name, fit in fits.items():
    accuracy[name] = np.mean(fit.network.forward(fit.params, X).argmax(axis=1) == labels)
    print(f"{name}: cost {fit.history[0].cost:.3f} -> {fit.history[-1].cost:.4f}")
print(f"training accuracy of 2-4-3: {accuracy['2-4-3']:.1%}")
reaches("training accuracy of 2-100-3", accuracy["2-100-3"], 0.98)

# %% [markdown]
# Four ReLU units fold the plane along four lines, and four folds are not enough to follow three arms through more
# than half a turn each; a hundred are.

# %%
chart({name: fit.history.cost for name, fit in fits.items()}, "Full-batch gradient descent", "step", "cost C")

# %% [markdown]
# ## What the networks learned
#
# Each pixel is a point of the plane, coloured by the class that the network finds most probable there; the paler,
# the less certain it is.


# %%
def regions(name, left):
    """The decision regions of a network, with the points on top."""
    side, pixels, reach = 300, 150, 1.15
    fit = fits[name]
    axis = np.linspace(-reach, reach, pixels)
    plane = np.stack(np.meshgrid(axis, axis[::-1]), axis=-1).reshape(-1, 2)
    Y = fit.network.forward(fit.params, plane)
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS])
    certainty = (Y.max(axis=1, keepdims=True) - 1 / 3) * 1.5  # 0 where all classes are equal, 1 where one is sure
    opacity = 255 * (0.08 + 0.42 * certainty)
    colour = np.hstack([rgb[Y.argmax(axis=1)], opacity.round()]).reshape(pixels, pixels, 4)
    parts = [image(colour, left, 26, side, side)]
    for (x, y), label in zip(X, labels, strict=True):
        cx, cy = left + (x + reach) / (2 * reach) * side, 26 + (reach - y) / (2 * reach) * side
        parts.append(
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3.2" fill="{COLOURS[label]}" stroke="#fff" stroke-width="0.7"/>'
        )
    parts.append(text(f"{name}: {accuracy[name]:.1%} of the points", left + side / 2, 16, size=13))
    return "".join(parts)


Picture(640, 334, regions("2-4-3", 8) + regions("2-100-3", 332), "Decision regions of 2-4-3 and of 2-100-3")
