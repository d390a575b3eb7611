"""Quantisation to 8-bit integers after training, calibrated on frames.

The range of what each convolution reads is observed. Then its input and its weights are rounded to 8 bits by
fake quantisation: operations on floats that round as integers would. An engine that finds these on both
inputs of a convolution computes it in integers.
"""

import copy
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.engines.fused import Convolution, run_plainly
from fomm.engines.inference import EncodedSource, InferenceNetworks
from fomm.model import Keypoints
from fomm.model.geometry import multiply_2x2

_LEVELS = 255
# Half of the weights' range stays unused: without it, the sums of two products that processors before VNNI
# form in 16 bits overflow.
_MAX_WEIGHT = 63
# Not quantised. Detector and motion say where things are, and one step in 255 is a visible jump there. The
# encoder runs only once for each source.
_EXACT = ("detector.", "encoder.", "motion.")
# Movements that a head may make beside those in the given frames: shift, turn, size.
_MOVEMENTS = (
    ((0.15, 0.0), 0.0, 1.0),
    ((-0.15, 0.0), 0.0, 1.0),
    ((0.0, 0.15), 0.0, 0.85),
    ((0.0, -0.15), 0.0, 1.15),
    ((0.0, 0.0), 0.3, 1.0),
    ((0.0, 0.0), -0.3, 1.0),
)


def quantize(
    networks: InferenceNetworks, examples: Iterable[tuple[EncodedSource, Keypoints]]
) -> InferenceNetworks:
    """Return a copy of the networks whose decoder works in 8 bits.

    Args:
        networks: in float32, on the CPU.
        examples: sources and key points that move them, as for ``InferenceNetworks.render``; the decoder is
            calibrated on them, and on usual movements of each source.
    """
    copied = copy.deepcopy(networks)
    ranges: dict[str, tuple[float, float]] = {}
    with torch.inference_mode(), _observe_ranges(copied, ranges):
        for source, kp_driving in examples:
            copied.render(source, kp_driving)
            for movement in _MOVEMENTS:
                copied.render(source, _transform(source.keypoints, *movement))
    for name, (low, high) in ranges.items():
        parent, _, last = name.rpartition(".")
        quantized = _QuantizedConvolution(copied.get_submodule(name), low, high)
        setattr(copied.get_submodule(parent), last, quantized)
    copied.decoder.bottleneck.uses_winograd = False  # it has kernels of its own, in float32
    return copied


class _QuantizedConvolution(nn.Module):
    """A ``Convolution`` with 8 bits for its input and for the weights of each output channel."""

    weight_scale: Tensor
    weight_zero: Tensor

    def __init__(self, conv: nn.Module, low: float, high: float) -> None:
        super().__init__()
        assert isinstance(conv, Convolution)
        self.conv = conv
        low, high = min(low, 0.0), max(high, 1e-6)  # so that zero, which pads, is represented exactly
        self.scale = (high - low) / _LEVELS
        self.zero = round(-low / self.scale)
        largest = conv.weight.abs().amax(dim=(1, 2, 3)).clamp_min(1e-12)
        self.register_buffer("weight_scale", largest / _MAX_WEIGHT)
        self.register_buffer("weight_zero", torch.zeros_like(largest, dtype=torch.int32))

    def forward(self, x: Tensor, total: Tensor | None = None) -> Tensor:
        conv = self.conv
        x = torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero, 0, _LEVELS)
        weight = torch.fake_quantize_per_channel_affine(
            conv.weight, self.weight_scale, self.weight_zero, 0, -128, 127
        )
        out = F.conv2d(x, weight, conv.bias, stride=conv.stride, padding=conv.padding)
        out = out.relu() if conv.relu else out
        return out if total is None else out + total


@contextmanager
def _observe_ranges(networks: InferenceNetworks, ranges: dict[str, tuple[float, float]]) -> Iterator[None]:
    """Write to ``ranges`` what each convolution that will be quantised reads while the block runs."""
    handles = []
    for name, module in networks.named_modules():
        if isinstance(module, Convolution) and not name.startswith(_EXACT):

            def observe(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                low, high = ranges.get(name, (0.0, 0.0))
                new_low, new_high = (float(value) for value in inputs[0].aminmax())
                ranges[name] = min(low, new_low), max(high, new_high)

            handles.append(module.register_forward_pre_hook(observe))
    try:
        with run_plainly():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _transform(source: Keypoints, shift: tuple[float, float], turn: float, size: float) -> Keypoints:
    """Turn (radians), scale and shift (in [-1, 1]) all key points of the source."""
    cosine, sine = size * math.cos(turn), size * math.sin(turn)
    matrix = source.value.new_tensor([[cosine, -sine], [sine, cosine]])
    value = multiply_2x2(matrix, source.value[..., None])[..., 0] + matrix.new_tensor(shift)
    return Keypoints(value, None if source.jacobian is None else multiply_2x2(matrix, source.jacobian))
