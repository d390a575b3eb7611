"""Gradients compared up to the side of zero on which float32 puts an activation.

The gradient of a ReLU or of an absolute value jumps where its argument is zero: a kink. One training step has
a million arguments. Dozens of them lie so near to zero that rounding in float32 decides their side, and that
differs between processors. Each changes the gradients by up to 1e-2 of their largest entry. So the tests
compute the step in float64. A gradient counts as the published one if the two differ by the jumps of a few of
these arguments and by nothing else.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import lsq_linear
from torch import Tensor

NEAR = 1e-4  # of the arguments' standard deviation: what float32 cannot tell from zero after so many layers

Kink = tuple[Tensor, Tensor, float]  # argument, value, and how much the slope jumps


@contextmanager
def watch_kinks(monkeypatch) -> Iterator[list[Kink]]:
    """Collect the arguments and values of every ReLU, leaky ReLU and absolute value inside the block."""
    kinks: list[Kink] = []

    def watch(function: Callable, jump: float) -> Callable:
        def watched(x, *args, **options):
            y = function(x, *args, **options)
            if x.requires_grad:
                y.retain_grad()
                kinks.append((x, y, jump))
            return y

        return watched

    with monkeypatch.context() as patch:
        patch.setattr(F, "relu", watch(F.relu, 1.0))
        patch.setattr(F, "leaky_relu", watch(F.leaky_relu, 0.8))
        patch.setattr(Tensor, "abs", watch(Tensor.abs, 2.0))
        yield kinks


def explain_difference(
    kinks: list[Kink], parameters: list[Tensor], wanted: list[np.ndarray]
) -> tuple[float, int]:
    """Explain the difference to the wanted gradients by kinks near zero, and return what is left of it.

    Each such kink may count from either side. Every gradient is relative to its largest wanted entry. The
    backward pass has run, and its graph is kept.

    Args:
        kinks: from ``watch_kinks``.
        parameters: with their gradients.
        wanted: the gradient of each.

    Returns:
        The largest difference left, and how many kinks count from the other side.
    """
    scales = [np.abs(array).max() for array in wanted]

    def joined(gradients) -> np.ndarray:
        parts = zip(gradients, parameters, scales, strict=True)
        return np.concatenate(
            [(p.new_zeros(p.shape) if g is None else g).numpy().ravel() / scale for g, p, scale in parts]
        )

    difference = np.concatenate([array.ravel() / scale for array, scale in zip(wanted, scales, strict=True)])
    difference -= joined([parameter.grad for parameter in parameters])
    jumps = []
    for x, y, jump in kinks:
        values = x.detach().ravel()
        for index in (values.abs() < NEAR * values.std()).nonzero().ravel().tolist():
            upstream = y.grad.ravel()[index].item() if y.grad is not None else 0.0
            if upstream:
                slope = torch.autograd.grad(
                    x.ravel()[index], parameters, retain_graph=True, allow_unused=True
                )
                jumps.append(-values[index].sign().item() * jump * upstream * joined(slope))
    matrix = np.stack(jumps, 1)
    flips = np.round(lsq_linear(matrix, difference, bounds=(0, 1)).x)
    return float(np.abs(difference - matrix @ flips).max()), int(flips.sum())
