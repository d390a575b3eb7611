"""The networks, converted for an engine and kept as long as the generator is."""

import weakref
from typing import Protocol

import torch
from torch import Tensor

from fomm.engines.choose import DTYPES, choose, fast_precision, warn_if_emulated
from fomm.engines.inference import Rendered, Source, for_inference
from fomm.model import Keypoints, KPDetector, OcclusionAwareGenerator


class Engine(Protocol):
    """The networks of one generator and key-point detector; all tensors are on their device."""

    def detect(self, images: Tensor) -> Keypoints:
        """BxCxHxW in [0, 1] to key points."""

    def encode(self, picture: Tensor) -> Source:
        """1xCxHxW in [0, 1], once for each source."""

    def render(self, source: Source, kp_driving: Keypoints) -> Rendered:
        """The source moved to the key points of B frames."""


_Key = tuple[str, str, tuple[int, int] | None]  # engine, precision, and the size if its graphs have one
# By generator: what its weights and the detector's were, and the networks made of them.
_kept: "weakref.WeakKeyDictionary[OcclusionAwareGenerator, tuple[object, dict[_Key, Engine]]]"
_kept = weakref.WeakKeyDictionary()


def prepared(
    generator: OcclusionAwareGenerator,
    kp_detector: KPDetector,
    size: tuple[int, int],
    *,
    engine: str | None = None,
    precision: str = "float32",
) -> tuple[Engine, str, str]:
    """The networks, converted for an engine, with its name and the precision that were chosen.

    They are kept as long as the generator is, and made again when its weights or the detector's have changed,
    or its ``bicubic`` or ``details``.
    When they are made, ``warn_if_emulated`` may warn.

    Args:
        size: height and width of the pictures.
        engine, precision: see ``choose``, and for the errors.
    """
    engine, precision = choose(engine, precision, next(generator.parameters()).device)
    made_of = (_fingerprint(generator, kp_detector), generator.bicubic, generator.details)
    known = _kept.get(generator)
    if known is None or known[0] != made_of:
        known = _kept[generator] = (made_of, {})
    networks, key = known[1], (engine, precision, None if engine == "torch" else size)
    if key not in networks:
        networks[key] = _converted(generator, kp_detector, engine, precision, size)
    return networks[key], engine, precision


def _converted(
    generator: OcclusionAwareGenerator,
    kp_detector: KPDetector,
    engine: str,
    precision: str,
    size: tuple[int, int],
) -> Engine:
    networks = for_inference(generator, kp_detector, DTYPES.get(precision, torch.float32))
    if engine == "torch":
        device = next(networks.buffers()).device
        warn_if_emulated(precision, device)
        if device.type != "cuda":
            return networks
        from fomm.engines.recording import CudaGraphs, RecordedNetworks

        return RecordedNetworks(networks, CudaGraphs(device))
    motion = None
    if precision == "int8":  # too coarse for motion, which goes in 16 bits where the processor has them
        dtype = DTYPES[fast_precision(torch.device("cpu"))]
        same = dtype == networks.dtype
        motion = networks.motion if same else for_inference(generator, kp_detector, dtype).motion
    from fomm.engines.graphs import GraphEngine

    if engine == "openvino":
        from fomm.engines.openvino import compiled
    else:
        from fomm.engines.onnxruntime import compiled
    return GraphEngine(networks, size, motion, compiled)


def _fingerprint(*networks: torch.nn.Module) -> object:
    """Changes when a weight does, or moves to another device."""
    tensors = [tensor for network in networks for tensor in network.state_dict(keep_vars=True).values()]
    hashes = torch.stack([torch.hash_tensor(tensor.detach()) for tensor in tensors]).tolist()
    places = [
        (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version, tensor.device)
        for tensor in tensors
    ]
    return hashes, places
