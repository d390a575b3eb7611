"""What the numbers of a report are called for people, what they mean, and which way is better."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Better = Literal["low", "high", "one", ""]  # "one": as the driving clip or the source itself


class Word(NamedTuple):
    """One number of ``results``."""

    key: str  # its name in the report
    label: str
    better: Better
    digits: int
    meaning: str


WORDS = (
    Word("l1_face", "L1, face", "low", 4, "Mean absolute error in the box of the face; colours in [0, 1]."),
    Word("l1", "L1, frame", "low", 4, "Mean absolute error of the whole frame."),
    Word("psnr", "PSNR, dB", "high", 2, "Of each clip's mean squared error; the mean over clips."),
    Word("ssim", "SSIM", "high", 3, "Structural similarity, Gaussian window, mean over colours."),
    Word("perceptual_vgg19", "perceptual, VGG-19", "low", 4, "Mean absolute difference of features."),
    Word(
        "perceptual_efficientnet_lite0", "perceptual, EfficientNet-lite0", "low", 4,
        "Mean absolute difference of features. This network may have been trained against, too.",
    ),
    Word("akd", "AKD, px", "low", 3, "As published: 68 points by face-alignment on result and truth."),
    Word(
        "akd_missing_rate", "AKD, missing rate", "low", 4,
        "Frames in which face-alignment finds no face, of those in whose true frame it does.",
    ),
    Word(
        "akd_mesh468", "AKD of the mesh, px", "low", 3,
        "468 points by the face mesh on result and truth; not the published AKD.",
    ),
    Word(
        "akd_exact68", "mesh to exact points, px", "low", 3,
        "68 points of the face mesh against the renderer's; the driving clip's own number is the floor.",
    ),
    Word(
        "missing_rate", "missing rate of the mesh", "low", 4,
        "Frames in which fomm's own detector finds no face, of those in whose driving frame it does.",
    ),
    Word(
        "aed_dlib128", "AED of dlib's network", "low", 4,
        "Squared distance of identities of result and truth; not the published AED.",
    ),
    Word(
        "identity_to_source", "identity to source", "low", 3,
        "Distance of identities; above 0.6 they count as two people.",
    ),
    Word(
        "identity_to_driving", "identity to driving person", "high", 3,
        "Distance of identities; the result should be the source's person, not this one.",
    ),
    Word(
        "sharpness_denoised", "sharpness, denoised", "one", 3,
        "As below, of slightly blurred pictures, in which a camera's noise counts for little.",
    ),
    Word("sharpness", "sharpness", "one", 3, "Variance of the Laplacian of the face over the source's."),
    Word(
        "flicker", "flicker, grey levels", "low", 2,
        "Wavering from frame to frame where the driving clip stands still; its own is the camera's noise.",
    ),
    Word("frechet_vgg19", "Fréchet, VGG-19", "low", 3, "Distance of the features' sets; not FID."),
    Word(
        "frechet_efficientnet_lite0", "Fréchet, EfficientNet-lite0", "low", 3,
        "Distance of the features' sets; not FID.",
    ),
    Word("fid", "FID", "low", 2, "Fréchet inception distance, result to driving frames."),
)  # fmt: skip

TRAIT_LABELS = {
    "yaw": "yaw, degrees",
    "pitch": "pitch, degrees",
    "roll": "roll, degrees",
    "mouth": "mouth opening",
    "eyes": "eye opening",
}


def words_of(results: dict[str, dict[str, Any]]) -> list[Word]:
    """The words for which at least one contestant has a number."""
    return [word for word in WORDS if any(numbers.get(word.key) is not None for numbers in results.values())]


def as_number(value: float | None, digits: int) -> str:
    """A number as people read it; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"
