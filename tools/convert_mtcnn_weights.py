"""Make the weights of MTCNN that ship, from the wheel that publishes them.

    pip download --no-deps facenet-pytorch==2.6.0
    python tools/convert_mtcnn_weights.py facenet_pytorch-2.6.0-py3-none-any.whl

This writes ``fomm/swap/weights/mtcnn.safetensors``. The numbers are those of the original. Its matrices take
features in the order width, height, channel; here it is channel, height, width, and their columns follow.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import zipfile

import torch
from safetensors.torch import save
from torch import Tensor

from fomm.atomic import atomic_path
from fomm.errors import CheckpointError
from fomm.swap.mtcnn import WEIGHTS, Mtcnn

# The original's layers of each network, in the order of ours.
LAYERS = {
    "p": ("conv1", "prelu1", "conv2", "prelu2", "conv3", "prelu3", "conv4_1", "conv4_2"),
    "r": (
        *("conv1", "prelu1", "conv2", "prelu2", "conv3", "prelu3", "dense4", "prelu4"),
        *("dense5_1", "dense5_2"),
    ),
    "o": (
        *("conv1", "prelu1", "conv2", "prelu2", "conv3", "prelu3", "conv4", "prelu4", "dense5", "prelu5"),
        *("dense6_1", "dense6_2", "dense6_3"),
    ),
}
AFTER_FEATURES = {"r": ("dense4", 3), "o": ("dense5", 3)}  # the matrix that takes features of 3x3 pixels


def convert_mtcnn(wheel: str | os.PathLike[str]) -> None:
    """Write the weights, read from the ``wheel``. Raises CheckpointError when it does not hold them."""
    weights: dict[str, Tensor] = {}
    origins = []
    for network, layers in LAYERS.items():
        member = f"facenet_pytorch/data/{network}net.pt"
        try:
            with zipfile.ZipFile(wheel) as archive:
                data = archive.read(member)
        except (OSError, KeyError, zipfile.BadZipFile) as reason:
            raise CheckpointError(
                f"{wheel} holds no {member}; give the wheel of facenet-pytorch 2.6.0"
            ) from reason
        origins.append(f"{member} sha256 {hashlib.sha256(data).hexdigest()}")
        theirs = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        ours = [name for name, _ in getattr(Mtcnn(), network).named_parameters()]
        names = [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
        names = [name for name in names if name in theirs]  # a PReLU has no bias
        for name, other in zip(ours, names, strict=True):
            tensor = theirs[other].float()
            if network in AFTER_FEATURES and other == f"{AFTER_FEATURES[network][0]}.weight":
                side = AFTER_FEATURES[network][1]
                tensor = tensor.reshape(len(tensor), side, side, -1).permute(0, 3, 2, 1).flatten(1)
            weights[f"{network}.{name}"] = tensor.contiguous()
    origin = f"facenet-pytorch 2.6.0; {'; '.join(origins)}; MIT"
    with atomic_path(WEIGHTS, CheckpointError) as path:
        path.write_bytes(save(weights, metadata={"origin": origin}))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/convert_mtcnn_weights.py FACENET_PYTORCH_WHEEL")
    convert_mtcnn(sys.argv[1])
