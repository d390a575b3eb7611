"""Make mtcnn.npz: what facenet-pytorch's own code finds in the pictures that ship.

    pip download --no-deps facenet-pytorch==2.6.0
    python tests/golden/face/make_mtcnn.py facenet_pytorch-2.6.0-py3-none-any.whl

Its ``detect_face`` runs with its default thresholds, and faces of 20 pixels or more. The package imports
torchvision, of which it needs non-maximum suppression alone: it is given here, by its definition.
"""

import sys
import tempfile
import types
import zipfile
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from PIL import Image

PICTURES = ("astronaut.png", "grace_hopper.jpg", "group.jpg")


def keep_best(boxes: torch.Tensor, scores: torch.Tensor, groups: torch.Tensor, most: float) -> torch.Tensor:
    """Return the numbers of the boxes that non-maximum suppression keeps; all boxes are of one picture."""
    assert not groups.any()
    left = scores.argsort(descending=True).tolist()
    kept = []
    while left:
        best, *left = left
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[left, :2])
        high = torch.minimum(boxes[best, 2:], boxes[left, 2:])
        common = (high - low).clamp(min=0).prod(1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        overlap = common / (areas[best] + areas[left] - common)
        left = [number for number, share in zip(left, overlap.tolist(), strict=True) if share <= most]
    return torch.tensor(kept, dtype=torch.long)


def load_package(folder: str) -> tuple[types.ModuleType, types.ModuleType]:
    """Return the package's modules ``mtcnn`` and ``detect_face``, without its other parts."""
    for name in ("torchvision", "torchvision.transforms", "torchvision.ops"):
        sys.modules[name] = types.ModuleType(name)
    functional = types.ModuleType("torchvision.transforms.functional")
    sys.modules["torchvision.transforms"].functional = functional  # type: ignore[attr-defined]
    boxes = sys.modules["torchvision.ops.boxes"] = types.ModuleType("torchvision.ops.boxes")
    boxes.batched_nms = keep_best  # type: ignore[attr-defined]
    for name in ("facenet_pytorch", "facenet_pytorch.models"):
        package = sys.modules[name] = types.ModuleType(name)
        package.__path__ = [str(Path(folder, *name.split(".")))]
    module = import_module("facenet_pytorch.models.mtcnn")
    return module, import_module("facenet_pytorch.models.utils.detect_face")


def make_golden(wheel: str) -> None:
    """Write mtcnn.npz: of each picture NAME.boxes, Nx5 (box, score), and NAME.points, Nx5x2."""
    arrays = {}
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        mtcnn, search = load_package(folder)
        networks = mtcnn.PNet().eval(), mtcnn.RNet().eval(), mtcnn.ONet().eval()
        for name in PICTURES:
            path = Path(__file__).parents[3] / "examples" / name
            picture = np.array(Image.open(path).convert("RGB"))
            with torch.no_grad():
                boxes, points = search.detect_face(
                    picture, 20, *networks, [0.6, 0.7, 0.7], 0.709, torch.device("cpu")
                )
            arrays[f"{name}.boxes"] = np.asarray(boxes[0], np.float32)
            arrays[f"{name}.points"] = np.asarray(points[0], np.float32)
    np.savez_compressed(Path(__file__).with_name("mtcnn.npz"), **arrays)


if __name__ == "__main__":
    make_golden(sys.argv[1])
