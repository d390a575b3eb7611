"""Train the detector's network, calibrate its scores, and write both to a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from fomm.atomic import atomic_path
from fomm.detect.network import BRANCHES, CELL, Calibration, TraceNetwork, score, to_batch
from fomm.detect.samples import Samples
from fomm.errors import InputError

_BATCH = 64  # pictures in one pass where nothing is trained


@dataclass(frozen=True)
class Settings:
    """How the network is trained, on the CPU."""

    steps: int = 8000
    batch: int = 16  # half of them untouched
    learning_rate: float = 2e-3  # of AdamW; it falls along half a cosine to nearly 0
    weight_decay: float = 0.02
    picture_weight: float = 0.5  # of the loss of whole pictures, beside that of the cells
    brightness: float = 0.1  # added to each colour of a picture, at most
    contrast: float = 0.3  # a picture's contrast is multiplied by 1 plus or minus at most this
    grey: float = 0.2  # share of the pictures that lose their colours
    seed: int = 0


def train(
    network: TraceNetwork, samples: Samples, settings: Settings, branches: Sequence[str] = BRANCHES
) -> Iterator[dict[str, float]]:
    """Train branches of a network in place, and yield the losses of each step.

    No branch's loss depends on the other one: each has to find the area alone.

    Every batch holds pairs: a changed picture, of each kind as many as chance gives, and the untouched one
    that it was made of, which was written and cut in the same way. So nothing but the change tells the two
    apart, and the person least of all. The losses are those of ``losses``. Convolutions run in bfloat16.

    Raises:
        InputError: the samples are all untouched, or all changed, or none are pairs.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    pairs = find_pairs(samples)
    kinds = [pairs[samples.kinds[pairs[:, 1]] == kind] for kind in np.unique(samples.kinds[pairs[:, 1]])]
    trained = nn.ModuleDict({name: getattr(network, name) for name in branches})
    optimizer = torch.optim.AdamW(
        trained.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    for step in range(settings.steps):
        trained.train()
        for group in optimizer.param_groups:
            share = step / settings.steps
            group["lr"] = settings.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)
        ways = rng.integers(0, len(kinds), settings.batch // 2)
        chosen = np.stack([kinds[way][rng.integers(len(kinds[way]))] for way in ways]).T.ravel()
        pictures, changed = augment(
            to_batch(samples.pictures[chosen]), torch.from_numpy(samples.changed[chosen]), rng, settings
        )
        with torch.autocast("cpu", torch.bfloat16):
            heats = {name: branch(pictures).float() for name, branch in trained.items()}
        parts = {name: losses(heat, changed) for name, heat in heats.items()}
        total = torch.stack([c + settings.picture_weight * whole for c, whole in parts.values()]).sum()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        told = {
            f"{name} {kind}": float(value.detach())
            for name, both in parts.items()
            for kind, value in zip(("cells", "pictures"), both, strict=True)
        }
        yield {"step": step, **told}
    network.eval()


def find_pairs(samples: Samples) -> np.ndarray:
    """Return numbers of untouched pictures and of what was made of them, Px2.

    Raises InputError: there are none.
    """
    untouched, changed = np.flatnonzero(samples.kinds == 0), np.flatnonzero(samples.kinds > 0)
    source = dict(zip(samples.moments[untouched].tolist(), untouched.tolist(), strict=True))
    pairs = [
        (source[moment], number)
        for moment, number in zip(samples.moments[changed].tolist(), changed.tolist(), strict=True)
        if moment in source
    ]
    if not pairs:
        raise InputError(
            "a detector is trained on untouched pictures and what was made of them; one of both is missing"
        )
    return np.array(pairs)


def augment(
    pictures: Tensor, changed: Tensor, rng: np.random.Generator, settings: Settings
) -> tuple[Tensor, Tensor]:
    """Return pictures, Bx3xSxS in [0, 1], and where they were changed, BxSxS bool, varied at random.

    A half of them is mirrored, some lose their colours, all get another brightness and contrast. Picture
    number i and number i + B / 2 are a pair, and vary alike.
    """
    count = len(pictures) // 2

    def choose(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.concatenate([values, values]))

    mirrored = choose(rng.random((count, 1, 1, 1)) < 0.5)
    pictures = torch.where(mirrored, pictures.flip(3), pictures)
    changed = torch.where(mirrored[:, 0], changed.flip(2), changed)
    grey = choose(rng.random((count, 1, 1, 1)) < settings.grey)
    pictures = torch.where(grey, pictures.mean(1, keepdim=True), pictures)
    gain = choose(1 + rng.uniform(-1, 1, (count, 1, 1, 1)) * settings.contrast).float()
    offset = choose(rng.uniform(-1, 1, (count, 3, 1, 1)) * settings.brightness).float()
    return ((pictures - 0.5) * gain + 0.5 + offset).clamp(0, 1), changed


def losses(heat: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
    """Return a branch's binary cross-entropies over the cells, and over whole pictures by their ``score``.

    The truth of a cell is the share of its pixels that were changed, and that of a picture is whether any
    was.

    Args:
        heat: BxCELLSxCELLS, logits. changed: BxSxS bool.
    """
    cells = F.avg_pool2d(changed[:, None].float(), CELL)[:, 0]
    pictures = changed.flatten(1).any(1).to(cells.dtype)
    return (
        F.binary_cross_entropy_with_logits(heat, cells),
        F.binary_cross_entropy_with_logits(score(heat), pictures),
    )


@torch.inference_mode()
def apply(
    network: TraceNetwork, pictures: np.ndarray, branches: Sequence[str] = BRANCHES
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores, N, and the heat maps on which the branches agree, NxCELLSxCELLS in [0, 1].

    Args:
        network: in eval mode. pictures: NxSIZExSIZEx3 uint8, squares around faces. branches: who must agree.
    """
    scores, heats = [], []
    for start in range(0, len(pictures), _BATCH):
        batch = to_batch(pictures[start : start + _BATCH])
        lower = torch.stack([getattr(network, name)(batch) for name in branches]).amin(0)
        scores.append(score(lower).numpy())
        heats.append(lower.sigmoid().numpy())
    return np.concatenate(scores), np.concatenate(heats)


def mean_by_clip(scores: np.ndarray, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of N scores over each clip, C, and whether each was changed, C bool."""
    _, places = np.unique(samples.clips, return_inverse=True)
    counts = np.bincount(places)
    means = np.bincount(places, scores) / counts
    return means, np.bincount(places, samples.kinds > 0) / counts > 0.5


def calibrate(scores: np.ndarray, changed: np.ndarray) -> Calibration:
    """Return the sigmoid that fits scores best to what is known, by maximum likelihood; J. Platt, 1999.

    Both classes weigh the same, however many there are of each. The targets are not 0 and 1 but
    1 / (n0 + 2) and (n1 + 1) / (n1 + 2) of n0 untouched and n1 changed ones, so that classes that are told
    apart without an error do not make the slope infinite.

    Args:
        scores: N. changed: N bool.

    Raises:
        InputError: all are changed, or none is.
    """
    from scipy.optimize import minimize

    ones, zeros = int(changed.sum()), int((~changed).sum())
    if not ones or not zeros:
        raise InputError(f"scores are calibrated on both classes; {ones} are changed, {zeros} untouched")
    targets = np.where(changed, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    weights = np.where(changed, 0.5 / ones, 0.5 / zeros)

    def loss(line: np.ndarray) -> float:
        logits = line[0] * scores + line[1]
        return float((weights * (np.logaddexp(0, logits) - targets * logits)).sum())

    slope, offset = minimize(loss, [1.0, -float(np.mean(scores))], method="Nelder-Mead").x
    return Calibration(float(slope), float(offset))


def write_network(path: Path, network: TraceNetwork, calibration: Calibration) -> None:
    """Write a network, in half precision, and its calibration, so that ``read_network`` reads them."""
    tensors = {
        name: tensor.half().contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()  # the norms count their batches in whole numbers: of no use here
    }
    tensors["calibration"] = torch.tensor(list(calibration), dtype=torch.float64)
    with atomic_path(path) as unfinished:
        save_file(tensors, unfinished)
