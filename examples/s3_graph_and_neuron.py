# %% [markdown]
# # S3. The computation graph, and the neuron as least squares
#
# Seven short studies, each on measured data: a walk through a graph, node by node; Jacobian form against shape
# convention; a binary classifier with one hidden layer; a deep network that keeps its forward values; the sigmoid
# neuron as nonlinear least squares; the linear neuron in closed form; the Jacobian of a 2-5-3-1 network.
#
# The tables: [Concrete Compressive Strength](https://doi.org/10.24432/C5PK67) (Yeh, UCI, CC BY 4.0),
# [Adult](https://doi.org/10.24432/C5XW20) (Becker and Kohavi, UCI, CC BY 4.0), and
# [Rat42](https://www.itl.nist.gov/div898/strd/nls/data/ratkowsky2.shtml) (NIST, public domain).

# %%
import csv
import gzip
import itertools

import numpy as np
from common import COLOURS, Picture, agree, reaches, text

import layerwise as lw

concrete = np.loadtxt("data/concrete.csv.gz", delimiter=",", skiprows=1)  # 8 columns of the mix and its age, strength


def standardised(columns):
    """Each column with mean 0 and deviation 1."""
    return (columns - columns.mean(axis=0)) / columns.std(axis=0)


mix, strength = standardised(concrete[:, :8]), standardised(concrete[:, 8])
print(f"{len(concrete)} samples of concrete")

# %% [markdown]
# ## 1. A walk through the graph
#
# A net with two inputs (cement and age of the first sample), two tanh units and a linear output,
#
# $$\hat y = \tanh(x W^1 + b^1)\, W^2 + b^2, \qquad
#   C = \tfrac12 (t - \hat y)^2 + \tfrac\lambda2 \sum_{ij} (w^1_{ij})^2 ,$$
#
# written as single operations, so that each is a node. Sources are data and parameters; every other node is an
# operation on nodes above it.

# %%
x = lw.input("x", (1, 2))
t = lw.input("t", (1, 1))
W1, b1 = lw.parameter("W1", (2, 2)), lw.parameter("b1", (2,))
W2, b2 = lw.parameter("W2", (2, 1)), lw.parameter("b2", (1,))
decay = 0.1

nodes = {"x": x, "W1": W1, "b1": b1, "W2": W2, "b2": b2, "t": t}
p1 = nodes["p1 = x W1"] = x @ W1
z1 = nodes["z1 = p1 + b1"] = p1 + b1
a1 = nodes["a1 = tanh z1"] = lw.tanh(z1)
p2 = nodes["p2 = a1 W2"] = a1 @ W2
y = nodes["y = p2 + b2"] = p2 + b2
r = nodes["r = t - y"] = t - y
q = nodes["q = r²"] = lw.square(r)
Q = nodes["Q = Σ q"] = lw.sum(q)
E = nodes["E = ½ Q"] = 0.5 * Q
s = nodes["s = W1²"] = lw.square(W1)
S = nodes["S = Σ s"] = lw.sum(s)
R = nodes["R = λ/2 S"] = (decay / 2) * S
C = nodes["C = E + R"] = E + R

feeds = {
    x: mix[:1, [0, 7]],
    t: strength[:1, None],
    W1: [[0.5, -0.3], [0.2, 0.4]],
    b1: [0.1, -0.1],
    W2: [[0.7], [-0.6]],
    b2: [0.05],
}

# %% [markdown]
# **Forward visit**, from top to bottom: each node computes its value from the nodes it reads. **Reverse visit**,
# from bottom to top: the gradient of $C$ by itself is 1, and every other node receives from each of its successors
#
# $$\text{downstream gradient} = \text{upstream gradient} \times \text{local gradient}.$$
#
# One reverse sweep gives the gradient of $C$ by *every* node, not only by the parameters: `lw.gradient` takes
# any list of nodes.

# %%
values = lw.evaluate(list(nodes.values()), feeds)
gradients = lw.evaluate(lw.gradient(C, list(nodes.values())), feeds)
value, grad = dict(zip(nodes, values, strict=True)), dict(zip(nodes, gradients, strict=True))


def numbers(array):
    return " ".join(f"{v:6.3f}" for v in np.ravel(array))


print(f"{'node':<14}{'operation':<11}{'shape':<8}{'value':<29}∂C/∂node")
for name, node in nodes.items():
    shape = "×".join(map(str, node.shape)) or "scalar"
    print(f"{name:<14}{node.op.name:<11}{shape:<8}{numbers(value[name]):<29}{numbers(grad[name])}")

# %% [markdown]
# The reverse visit once more, by hand, one line a node. $W^1$ has two successors, the product $p^1$ and the square
# $s$, so it receives two gradients, and they add:
# $\dfrac{\partial z}{\partial x} = \sum_i \dfrac{\partial z}{\partial y_i} \dfrac{\partial y_i}{\partial x}$.

# %%
v = {name.split(" ")[0]: array for name, array in value.items()}  # by short name
by_hand = {"C": np.array(1.0)}
by_hand["R"] = by_hand["C"] * 1  # C = E + R
by_hand["E"] = by_hand["C"] * 1
by_hand["S"] = by_hand["R"] * decay / 2  # R = λ/2 S
by_hand["s"] = by_hand["S"] * np.ones((2, 2))  # S = Σ s: every entry gets the gradient of the sum
by_hand["Q"] = by_hand["E"] * 0.5  # E = ½ Q
by_hand["q"] = by_hand["Q"] * np.ones((1, 1))  # Q = Σ q
by_hand["r"] = by_hand["q"] * 2 * v["r"]  # q = r²
by_hand["t"] = by_hand["r"] * 1  # r = t - y
by_hand["y"] = by_hand["r"] * -1
by_hand["b2"] = by_hand["y"].sum(axis=0)  # y = p2 + b2, b2 added to every row
by_hand["p2"] = by_hand["y"] * 1
by_hand["W2"] = v["a1"].T @ by_hand["p2"]  # p2 = a1 W2
by_hand["a1"] = by_hand["p2"] @ v["W2"].T
by_hand["z1"] = by_hand["a1"] * (1 - v["a1"] ** 2)  # a1 = tanh z1
by_hand["b1"] = by_hand["z1"].sum(axis=0)  # z1 = p1 + b1
by_hand["p1"] = by_hand["z1"] * 1
by_hand["W1"] = v["x"].T @ by_hand["p1"] + by_hand["s"] * 2 * v["W1"]  # p1 = x W1 and s = W1²: two branches
by_hand["x"] = by_hand["p1"] @ v["W1"].T

for name in nodes:
    agree(f"∂C/∂{name.split(' ')[0]} by hand", by_hand[name.split(" ")[0]], grad[name])

# %% [markdown]
# ## 2. Jacobian form and shape convention
#
# For $y \in \mathbb{R}^n$ and $x \in \mathbb{R}^m$ the **Jacobian** $\partial y / \partial x$ has shape $(n, m)$: one
# row an output. In this form the chain rule is a product of matrices, read from left to right. In columns, with
# $z = W x + b$, $a = f(z)$ and the scalar $s = u^\top a$:
#
# $$\frac{\partial z}{\partial x} = W, \qquad \frac{\partial z}{\partial b} = I, \qquad
#   \frac{\partial a}{\partial z} = \operatorname{diag}(f'(z)), \qquad
#   \frac{\partial s}{\partial x} = u^\top \operatorname{diag}(f'(z))\, W .$$

# %%
x = lw.input("x", (2,))
W, b, u = lw.parameter("W", (3, 2)), lw.parameter("b", (3,)), lw.parameter("u", (3,))
z = W @ x + b
a = lw.tanh(z)
s = u @ a

feeds = {
    x: mix[0, [0, 7]],
    W: [[0.5, 0.2], [-0.3, 0.4], [0.8, -0.1]],
    b: [0.1, -0.1, 0.3],
    u: [0.7, -0.6, 0.2],
}
x0, W0, b0, u0 = (np.array(feeds[node]) for node in (x, W, b, u))
slope = 1 - np.tanh(W0 @ x0 + b0) ** 2

dz_dx, dz_db, da_dz, ds_dx = lw.evaluate(
    [lw.jacobian(z, x), lw.jacobian(z, b), lw.jacobian(a, z), lw.jacobian(s, x)], feeds
)
agree("∂z/∂x = W", dz_dx, W0)
agree("∂z/∂b = I", dz_db, np.eye(3))
agree("∂a/∂z = diag(f'(z))", da_dz, np.diag(slope))
agree("∂s/∂x = uᵀ diag(f'(z)) W", ds_dx, u0 @ np.diag(slope) @ W0)

# %% [markdown]
# A scalar by a matrix of shape $(n, m)$ has shape $(m, n)$ in this layout, so that $\partial s / \partial W$ could
# not be subtracted from $W$. The **shape convention** hands out its transpose: the gradient has the shape of its
# parameter. With the sensitivity $\delta = \partial s / \partial z$ as a column,
# $\partial z_i / \partial w_{ij} = x_j$ gives
#
# $$\frac{\partial s}{\partial w_{ij}} = \delta_i x_j, \qquad
#   \frac{\partial s}{\partial W} = x\, \delta^\top \text{ (Jacobian form)}, \qquad
#   \nabla_W s = \delta\, x^\top \text{ (shape convention)} ,$$
#
# both outer products of the sensitivity and the input.
#
# This is where the transpose in $\partial C / \partial W = \Delta A^\top$ comes from. Both forms are available,
# each by its name: `lw.jacobian` and `lw.gradient`.

# %%
delta, jacobian_form, shape_convention = lw.evaluate([lw.gradient(s, z), lw.jacobian(s, W), lw.gradient(s, W)], feeds)
agree("δ = u ⊙ f'(z)", delta, u0 * slope)
agree(f"Jacobian form {jacobian_form.shape} = x δᵀ", jacobian_form, np.outer(x0, delta))
agree(f"shape convention {shape_convention.shape} = δ xᵀ", shape_convention, np.outer(delta, x0))
agree("one is the transpose of the other", shape_convention, jacobian_form.T)

# %% [markdown]
# ## 3. A binary classifier with one hidden layer
#
# Adult asks whether a person earns more than 50,000 dollars a year. Here: its six numeric columns, the first 4,000
# rows to learn from and the next 1,000 to test. The two columns of capital hold a few large amounts among zeros;
# they enter as $\log(1 + x)$.

# %%
with gzip.open("data/adult.csv.gz", "rt", encoding="utf-8", newline="") as file:
    rows = list(itertools.islice(csv.DictReader(file), 5000))
columns = ["age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
table = np.array([[float(row[c]) for c in columns] for row in rows])
table[:, 3:5] = np.log1p(table[:, 3:5])
table = (table - table[:4000].mean(axis=0)) / table[:4000].std(axis=0)  # statistics of the training rows only
rich = np.array([row["income"].startswith(">50K") for row in rows], float)[:, None]
X, T, X_new, T_new = table[:4000], rich[:4000], table[4000:], rich[4000:]
N = len(X)

# %% [markdown]
# Sigmoid output and binary cross-entropy, $L = -t \log y - (1 - t) \log(1 - y)$. The product of
# $\partial L / \partial y$ and $\sigma'(z) = y (1 - y)$ cancels to the seed $\Delta^2 = \frac1N (A^2 - T)$:
#
# $$\frac1N \left( -\frac{t}{y} + \frac{1 - t}{1 - y} \right) y (1 - y) = \frac1N (y - t) .$$
#
# The $1/N$ belongs to the cost. It stands in the seed, so it is in all four gradients, in each of them once.

# %%
net = lw.Network([6, 16, 1], hidden="tanh", output="sigmoid", loss="binary_cross_entropy")
params = net.initialise(seed=2)

A1 = np.tanh(X @ params["W1"] + params["b1"])
Y = 1 / (1 + np.exp(-(A1 @ params["W2"] + params["b2"])))
delta2 = (Y - T) / N
delta1 = (delta2 @ params["W2"].T) * (1 - A1**2)
by_hand = {"W1": X.T @ delta1, "b1": delta1.sum(axis=0), "W2": A1.T @ delta2, "b2": delta2.sum(axis=0)}

cost, grads = net.cost_and_gradients(params, X, T)
agree("the cost of the classifier", np.mean(-T * np.log(Y) - (1 - T) * np.log(1 - Y)), cost)
for key in grads:
    agree(f"∂C/∂{key} of the classifier", by_hand[key], grads[key])

fit = lw.train(net, X, T, params=params, optimizer=lw.Momentum(0.05, 0.9), batch_size=100, epochs=20, seed=0)
right = np.mean((net.forward(fit.params, X_new) > 0.5) == (T_new == 1))
print(f"always answering the more frequent class: {max(T_new.mean(), 1 - T_new.mean()):.1%} of the new rows are right")
reaches("the classifier on the new rows", right, 0.8)

# %% [markdown]
# ## 4. A deep network that keeps its forward values
#
# The backward pass reads $A^{l-1}$ and $f_l'(Z^l)$ of every layer. Computing them once on the way up and keeping
# them makes the backward pass about as cheap as two forward passes; computing them again for each layer would cost
# $O(L^2)$. In the library the nodes of all layers are part of one graph, and one call evaluates them all.

# %%
widths = [6, 12, 12, 12, 12, 1]
L = len(widths) - 1
net = lw.Network(widths, hidden="tanh", output="sigmoid", loss="binary_cross_entropy")
params = net.initialise(seed=4)
graph = net.graph()
feeds = graph.feeds(params, X, T)

forward_feeds = {node: feeds[node] for node in feeds if node is not graph.targets}  # these nodes read no targets
A = lw.evaluate(graph.activations, forward_feeds)  # A^0 … A^L at once
delta_graph = [None, *lw.evaluate(lw.gradient(graph.cost, graph.pre_activations), feeds)]
_, grads = net.cost_and_gradients(params, X, T)

delta = (A[L] - T) / N
for layer in range(L, 0, -1):
    agree(f"Δ{layer} {delta.shape}", delta, delta_graph[layer])
    agree(f"∂C/∂W{layer} = (A{layer - 1})ᵀ Δ{layer}", A[layer - 1].T @ delta, grads[f"W{layer}"])
    agree(f"∂C/∂b{layer} = 1ᵀ Δ{layer}", delta.sum(axis=0), grads[f"b{layer}"])
    if layer > 1:
        delta = (delta @ params[f"W{layer}"].T) * (1 - A[layer - 1] ** 2)

# %% [markdown]
# ## 5. The sigmoid neuron as nonlinear least squares
#
# One neuron, $\hat y(x; w, b) = \sigma(\langle w, x \rangle + b)$, fitted to measurements $(x^k, y^k)$,
# $k = 1, \dots, K$:
#
# $$\min_\beta f(\beta) = \tfrac12 \lVert r(\beta) \rVert^2, \qquad r_k = y^k - \hat y(x^k; \beta), \qquad
#   \nabla f = J_r^\top r ,$$
#
# and row $k$ of $J_r$ is $-\sigma'(\langle w, x^k \rangle + b)\, [x^{k\top}, 1]$.
#
# Rat42 records the yield of a pasture against growing time. NIST certifies the least-squares solution of
# $y = b_1 / (1 + e^{b_2 - b_3 x})$, which is $b_1\, \sigma(b_3 x - b_2)$: a sigmoid neuron with $w = b_3$,
# $b = -b_2$, times the yield $b_1$ of the full-grown pasture. A neuron answers between 0 and 1 and has no such
# factor, so the yields are divided by the certified $b_1$; at this scale the best $w$ and $b$ must be the other two
# certified numbers, because a minimum over three parameters is also a minimum over two of them with the third held
# where it is.

# %%
yields, days = np.loadtxt("data/rat42.csv", delimiter=",", comments="#", skiprows=5, unpack=True)
certified_b1, certified_b2, certified_b3, certified_sum = 72.462237576, 2.6180768402, 0.067359200066, 8.0565229338
y_k = yields / certified_b1
x_k = standardised(days)[:, None]  # (K, 1); gradient descent wants inputs of a size near 1

x, y = lw.input("x", ("K", 1)), lw.input("y", ("K",))
w, b = lw.parameter("w", (1,)), lw.parameter("b", ())
r = y - lw.sigmoid(x @ w + b)
f = 0.5 * lw.sum(lw.square(r))
J = [lw.jacobian(r, w), lw.jacobian(r, b)]  # (K, 1) and (K,)
grad_f = lw.gradient(f, [w, b])

beta = {w: np.array([0.3]), b: np.array(-0.2)}
r0, J_w, J_b, f_w, f_b = lw.evaluate([r, *J, *grad_f], {x: x_k, y: y_k, **beta})
sigma = 1 / (1 + np.exp(-(x_k @ beta[w] + beta[b])))
J_r = np.column_stack([J_w, J_b])
x_and_1 = np.column_stack([x_k, np.ones(len(x_k))])
agree("J_r = -σ'(·) [xᵀ, 1], row by row", J_r, -(sigma * (1 - sigma))[:, None] * x_and_1)
agree("∇f = J_rᵀ r", np.append(f_w, f_b), J_r.T @ r0)

# %% [markdown]
# Gradient descent on $f$, $\beta \leftarrow \beta - \rho \nabla f$, until the gradient is zero to rounding:

# %%
fs = []
for _ in range(5000):
    value, dw, db = lw.evaluate([f, *grad_f], {x: x_k, y: y_k, **beta})
    fs.append(float(value))
    if max(abs(dw[0]), abs(db)) < 1e-14:
        break
    beta = {w: beta[w] - 2.0 * dw, b: beta[b] - 2.0 * db}
print(f"{len(fs)} steps: f {fs[0]:.5f} -> {fs[-1]:.8f}")

slope_in_days = beta[w][0] / days.std()
offset_in_days = beta[b] - beta[w][0] * days.mean() / days.std()
agree(f"w = {slope_in_days:.9f} is the certified b3", slope_in_days, certified_b3, 1e-9)
agree(f"b = {offset_in_days:.8f} is minus the certified b2", offset_in_days, -certified_b2, 1e-8)
agree("2 f b1² is the certified residual sum of squares", 2 * fs[-1] * certified_b1**2, certified_sum, 1e-8)

# %% [markdown]
# The same neuron as a network: `lw.Network([1, 1], output="sigmoid", loss="half_squared_error")`. A network's cost
# is the *average* over the samples, so $C = f / K$ and its gradient is $\nabla f / K$.

# %%
neuron = lw.Network([1, 1], output="sigmoid", loss="half_squared_error")
at_start = {"W1": np.array([[0.3]]), "b1": np.array([-0.2])}
cost, grads = neuron.cost_and_gradients(at_start, x_k, y_k)
agree("K C = f", len(x_k) * cost, fs[0])
agree("K ∂C/∂w = ∂f/∂w", len(x_k) * grads["W1"][0], f_w)


# %%
def place(day, value):
    return 56 + 560 * day / 90, 250 - 210 * value / 80


curve = [place(d, certified_b1 / (1 + np.exp(-(slope_in_days * d + offset_in_days)))) for d in np.linspace(0, 90, 91)]
parts = [text("Pasture yield: measured, and b₁ times the neuron", 336, 18, size=13), text("days of growth", 336, 286)]
for value in (0, 20, 40, 60, 80):
    (left, height), (right, _) = place(0, value), place(90, value)
    parts.append(f'<path d="M{left:g} {height:g}H{right:g}" stroke="currentColor" opacity="0.18"/>')
    parts.append(text(f"{value}", left - 8, height + 4, "end", size=11))
parts += [text(f"{day}", place(day, 0)[0], 267, size=11) for day in (0, 30, 60, 90)]
line = " ".join(f"{px:.1f},{py:.1f}" for px, py in curve)
parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[0]}" stroke-width="2"/>')
for day, value in zip(days, yields, strict=True):
    parts.append('<circle cx="{:.1f}" cy="{:.1f}" r="4.5" fill="{}"/>'.format(*place(day, value), COLOURS[1]))
Picture(640, 294, "".join(parts), "Nine measured yields and the fitted sigmoid")

# %% [markdown]
# ## 6. The linear neuron in closed form
#
# With $\sigma$ the identity, $r = y - X w - b \mathbf{1}$ is linear in $\beta = (w, b)$. A column of ones takes the
# bias in: $\tilde X = [X\ \mathbf{1}]$, $r = y - \tilde X \beta$, $J_r = -\tilde X$, and the minimum of
# $\frac12 \lVert r \rVert^2$ is where
#
# $$\nabla f = J_r^\top r = -\tilde X^\top (y - \tilde X \beta) = 0
#   \quad\Longleftrightarrow\quad \tilde X^\top \tilde X \beta = \tilde X^\top y .$$
#
# Strength of concrete from its eight columns, solved in one step and by gradient descent:

# %%
X_tilde = np.column_stack([mix, np.ones(len(mix))])
closed_form, *_ = np.linalg.lstsq(X_tilde, strength, rcond=None)
residual = strength - X_tilde @ closed_form
agree("∇f = J_rᵀ r is 0 at the solution", -X_tilde.T @ residual, np.zeros(9), 1e-10)

linear = lw.Network([8, 1], output="identity", loss="half_squared_error")
fit = lw.train(linear, mix, strength, optimizer=lw.Momentum(0.3, 0.9), batch_size=None, epochs=1500)
agree("w by gradient descent and in closed form", fit.params["W1"][:, 0], closed_form[:8], 1e-9)
agree("b by gradient descent and in closed form", fit.params["b1"], closed_form[8:], 1e-9)
print(f"the linear neuron explains {1 - residual.var() / strength.var():.1%} of the variance of the strength")

# %% [markdown]
# ## 7. Several layers: the Jacobian of a 2-5-3-1 network
#
# $J_r$ has one row a sample and one column a parameter: 10 + 5, 15 + 3 and 3 + 1 columns for the three layers, 37
# in all. For each sample the row is built from the output back. With $r = t - a^L$ and the row vector
# $s^l = \partial r / \partial z^l$,
#
# $$\begin{aligned}
# s^L &= -f_L'(z^L), & \frac{\partial r}{\partial w^l_{ij}} &= a^{l-1}_i s^l_j, \\
# s^l &= \bigl( s^{l+1} (W^{l+1})^\top \bigr) \odot f_l'(z^l), & \frac{\partial r}{\partial b^l_j} &= s^l_j ,
# \end{aligned}$$
#
# so $\partial \hat y / \partial \beta^L$ comes first, then the layers before it. The inputs are the cement and the
# logarithm of the age.

# %%
X = standardised(np.column_stack([concrete[:, 0], np.log(concrete[:, 7])]))
t = strength[:, None]
net = lw.Network([2, 5, 3, 1], hidden="tanh", output="identity", loss="half_squared_error")
params = net.initialise(seed=5)
graph = net.graph()
residuals = graph.targets - graph.output
blocks = [lw.jacobian(residuals, node) for node in graph.parameters.values()]


def jacobian_of(params):
    """The residuals (N,) and J_r (N, 37) by the library; columns in the order W1, b1, W2, b2, W3, b3."""
    feeds = graph.feeds(params, X, t)
    r, *parts = lw.evaluate([residuals, *blocks], feeds)
    # One output by a weight matrix (i, o) has shape (N, 1, o, i), Jacobian form; the columns follow the matrix.
    flat = [np.swapaxes(p[:, 0], 1, -1).reshape(len(X), -1) for p in parts]
    return r[:, 0], np.hstack(flat)


def jacobian_by_hand(params):
    """The same from the formulas above."""
    A = [X]
    for layer in (1, 2, 3):
        Z = A[-1] @ params[f"W{layer}"] + params[f"b{layer}"]
        A.append(np.tanh(Z) if layer < 3 else Z)
    by_layer = {}
    s = -np.ones((len(X), 1))  # the slope of the identity is 1
    for layer in (3, 2, 1):
        dW = A[layer - 1][:, :, None] * s[:, None, :]  # (N, i, o): an outer product for each sample
        by_layer[layer] = np.hstack([dW.reshape(len(X), -1), s])
        s = (s @ params[f"W{layer}"].T) * (1 - A[layer - 1] ** 2)
    return np.hstack([by_layer[layer] for layer in (1, 2, 3)])


r, J_r = jacobian_of(params)
agree(f"J_r {J_r.shape} by hand, layer by layer", jacobian_by_hand(params), J_r)
_, grads = net.cost_and_gradients(params, X, t)
agree("J_rᵀ r = ∇f = N ∇C", J_r.T @ r, len(X) * np.concatenate([grads[key].ravel() for key in params]), 1e-10)

# %% [markdown]
# Gauss-Newton and Levenberg-Marquardt use the same $J_r$: a step solves
# $(J_r^\top J_r + \lambda D)\, h = -J_r^\top r$ with $D$ the diagonal of $J_r^\top J_r$. The damping $\lambda$
# shrinks after a step that lowers $f$ and grows after one that does not. Thirty steps, beside as many of gradient
# descent:


# %%
def unflattened(vector):
    ends = np.cumsum([a.size for a in params.values()])[:-1]
    return {key: part.reshape(params[key].shape) for key, part in zip(params, np.split(vector, ends), strict=True)}


beta, damping = np.concatenate([a.ravel() for a in params.values()]), 1e-2
f = f_start = 0.5 * r @ r
for _ in range(30):
    JtJ = J_r.T @ J_r
    h = np.linalg.solve(JtJ + damping * np.diag(np.diag(JtJ)), -J_r.T @ r)
    r_new, J_new = jacobian_of(unflattened(beta + h))
    if 0.5 * r_new @ r_new < f:
        beta, r, J_r, f, damping = beta + h, r_new, J_new, 0.5 * r_new @ r_new, damping / 3
    else:
        damping *= 4

descent = lw.train(net, X, t, params=params, optimizer=lw.SGD(0.3), batch_size=None, epochs=30)
f_descent = len(X) * net.cost_and_gradients(descent.params, X, t)[0]
assert f < f_descent < f_start
print(f"f at the start {f_start:.1f}; after 30 steps of gradient descent {f_descent:.1f}, of damped steps {f:.1f}")
