"""Pack the raw exports of the bust and the environment maps into the small files beside this script.

Not imported by fomm. README.md says where the two exports come from and what they hold.

    python pack.py bust-export.npz environments-export.npz
"""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
SKIN, HAIR_STRIPS, MOUTH_INSIDE = 0, 6, 7
PHENOTYPE_STEP = 2.5e-5  # metres; the span of an int16 must hold the difference in body height
SHAPE_STEP = 1e-5
# A grown-up of middling chest: the shapes that need one of these never apply.
UNUSED_PHENOTYPES = {"newborn", "baby", "mincup", "maxcup", "minfirmness", "maxfirmness"}
PHENOTYPES = (
    "african asian caucasian male female newborn baby child young old minmuscle averagemuscle maxmuscle "
    "minweight averageweight maxweight minheight maxheight idealproportions uncommonproportions "
    "mincup averagecup maxcup minfirmness averagefirmness maxfirmness"
).split()
LOCAL_REGIONS = ("head", "forehead", "eyebrows", "neck", "nose", "mouth", "chin", "l", "r", "cheek")
NOT_ON_THE_HEAD = ("hand", "foot", "leg", "arm", "shoulder", "breast", "finger", "trans")


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write as np.savez_compressed does, but with LZMA: far smaller here, and np.load reads it too."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array))
            archive.writestr(zipfile.ZipInfo(name + ".npy"), buffer.getvalue(), zipfile.ZIP_LZMA)


def pack_shapes(shapes: np.ndarray, step: float) -> np.ndarray:
    """Pack displacements NxVx3 in metres into 2xNx3xV uint8.

    They are counted in steps. The differences along V are written in zigzag (0, -1, 1, -2, ...), first all
    low bytes and then all high ones.
    """
    levels = np.round(shapes.astype(np.float64).transpose(0, 2, 1) / step)
    if np.abs(levels).max() > 32767:
        raise ValueError(f"a displacement of {np.abs(shapes).max():.3f} m does not fit steps of {step} m")
    # differences may overflow an int16; the sum of them overflows back on loading
    delta: np.ndarray = np.diff(levels.astype(np.int16), axis=2, prepend=np.int16(0))
    zigzag = ((delta << 1) ^ (delta >> 15)).astype(np.uint16)
    return np.stack([zigzag & 255, zigzag >> 8]).astype(np.uint8)


def sample_mask(mask: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Return the values of an HxW mask at texture coordinates ...x2."""
    height, width = mask.shape
    x = np.clip((uv[..., 0] * width).astype(int), 0, width - 1)
    y = np.clip(((1 - uv[..., 1]) * height).astype(int), 0, height - 1)
    return mask[y, x]


def pack_bust(export: Path) -> None:
    """Write bust.npz from the raw export of the mesh."""
    raw = dict(np.load(export))
    parts = raw["P"].astype(np.uint8)
    inside = sample_mask(raw["m_inside-mouth"], raw["uv"][raw["FU"]].mean(1)) > 128
    parts[(parts == SKIN) & inside] = MOUTH_INSIDE
    vertex_uv = np.zeros((len(raw["T"]), 2), np.float32)
    vertex_uv[raw["F"].ravel()] = raw["uv"][raw["FU"].ravel()]
    lips = np.where(raw["vpart"] == SKIN, sample_mask(raw["m_lips"], vertex_uv), 0)

    faces = raw["F"][parts != HAIR_STRIPS]
    used, faces = np.unique(faces, return_inverse=True)
    allowed = [not UNUSED_PHENOTYPES & {PHENOTYPES[j] for j in np.flatnonzero(row)} for row in raw["phmask"]]
    phenotypes = np.flatnonzero(allowed)
    names = [str(name) for name in raw["loc"]]
    local = [
        i
        for i, name in enumerate(names)
        if name.split("-")[0] in LOCAL_REGIONS and not any(word in name for word in NOT_ON_THE_HEAD)
    ]
    both_signs = [2 * i + sign for i in local for sign in (0, 1)]
    write_npz(
        HERE / "bust.npz",
        {
            "template": raw["T"][used].astype(np.float32),
            "faces": faces.reshape(-1, 3).astype(np.uint16),
            "parts": parts[parts != HAIR_STRIPS],
            "vertex_parts": raw["vpart"][used].astype(np.uint8),
            "lips": lips[used].astype(np.uint8),
            "skin_weights": np.round(raw["W"][used] * 65535).astype(np.uint16),
            "joints": raw["heads"],
            "phenotype_mask": raw["phmask"][phenotypes].astype(bool),
            "phenotype_shapes": pack_shapes(raw["Bph"][phenotypes][:, used], PHENOTYPE_STEP),
            "local_names": np.array([names[i] for i in local]),
            "local_shapes": pack_shapes(raw["Bloc"][both_signs][:, used], SHAPE_STEP),
            "action_names": raw["fa"],
            "action_shapes": pack_shapes(raw["Bfa"][:, used], SHAPE_STEP),
            "steps": np.array([PHENOTYPE_STEP, SHAPE_STEP]),
        },
    )


def pack_environments(export: Path) -> None:
    """Write the environment maps from their raw export.

    A picture holds radiance x as 8 bits, 255 sqrt(x / (x + m)) with m the mean. The light itself becomes
    a grid of 16x32 cells in environments.npz.
    """
    raw = np.load(export)
    scales, lights = [], []
    for name, radiance in zip(raw["names"], raw["h"].astype(np.float64), strict=True):
        radiance = np.maximum(radiance, 0)
        # The sun is one pixel of these maps.
        radiance = np.minimum(radiance, 20 * np.percentile(radiance, 99.9))
        scale = radiance.mean()
        code = np.round(255 * np.sqrt(radiance / (radiance + scale))).astype(np.uint8)
        Image.fromarray(code).save(HERE / f"{Path(str(name)).name.split('.')[0]}.png", optimize=True)
        height, width = radiance.shape[:2]
        latitude = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
        solid_angle = np.cos(latitude)[:, None, None] * (np.pi / height) * (2 * np.pi / width)
        cells = (radiance * solid_angle).reshape(16, height // 16, 32, width // 32, 3).sum((1, 3))
        scales.append(scale)
        lights.append(cells)
    stems = [Path(str(name)).name.split(".")[0] for name in raw["names"]]
    write_npz(
        HERE / "environments.npz",
        {
            "names": np.array(stems),
            "scales": np.array(scales, np.float32),
            "lights": np.array(lights, np.float32),
        },
    )


if __name__ == "__main__":
    pack_bust(Path(sys.argv[1]))
    pack_environments(Path(sys.argv[2]))
