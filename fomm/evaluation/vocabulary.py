"""Say what each number of a report is called and means, and whether lower or higher is better."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Better = Literal["low", "high", "one", ""]  # "one": near 1, as in the source; "": neither is better


class Metric(NamedTuple):
    """What a page says of one number of ``results``."""

    key: str  # its name in the report
    label: str
    better: Better
    digits: int  # after the point
    meaning: str  # one sentence


METRICS = (
    Metric("l1_face", "L1, face", "low", 4, "Mean absolute error in the box of the face; colours in [0, 1]."),
    Metric("l1", "L1, frame", "low", 4, "Mean absolute error of the whole frame."),
    Metric("psnr", "PSNR, dB", "high", 2, "Of each clip's mean squared error; the mean over clips."),
    Metric("ssim", "SSIM", "high", 3, "Structural similarity, Gaussian window, mean over colours."),
    Metric("perceptual_vgg19", "perceptual, VGG-19", "low", 4, "Mean absolute difference of features."),
    Metric(
        "perceptual_efficientnet_lite0", "perceptual, EfficientNet-lite0", "low", 4,
        "Mean absolute difference of features. This network may have been trained against, too.",
    ),
    Metric("akd", "AKD, px", "low", 3, "As published: 68 points by face-alignment on result and truth."),
    Metric(
        "akd_missing_rate", "AKD, missing rate", "low", 4,
        "Frames in which face-alignment finds no face, of those in whose true frame it does.",
    ),
    Metric(
        "akd_mesh468", "AKD of the mesh, px", "low", 3,
        "468 points by the face mesh on result and truth; not the published AKD.",
    ),
    Metric(
        "akd_exact68", "mesh to exact points, px", "low", 3,
        "68 points of the face mesh against the renderer's; the driving clip's own number is the floor.",
    ),
    Metric(
        "missing_rate", "missing rate of the mesh", "low", 4,
        "Frames in which fomm's own detector finds no face, of those in whose driving frame it does.",
    ),
    Metric(
        "aed_dlib128", "AED of dlib's network", "low", 4,
        "Squared distance of identities of result and truth; not the published AED.",
    ),
    Metric(
        "identity_to_source", "identity to source", "low", 3,
        "Distance of identities; above 0.6 they count as two people.",
    ),
    Metric(
        "identity_to_driving", "identity to driving person", "high", 3,
        "Distance of identities; the result should be the source's person, not this one.",
    ),
    Metric(
        "sharpness_denoised", "sharpness, denoised", "one", 3,
        "As below, of slightly blurred pictures, in which a camera's noise counts for little.",
    ),
    Metric("sharpness", "sharpness", "one", 3, "Variance of the Laplacian of the face over the source's."),
    Metric(
        "flicker", "flicker, grey levels", "low", 2,
        "Wavering from frame to frame where the driving clip stands still; its own is the camera's noise.",
    ),
    Metric("frechet_vgg19", "Fréchet, VGG-19", "low", 3, "Distance of the features' sets; not FID."),
    Metric(
        "frechet_efficientnet_lite0", "Fréchet, EfficientNet-lite0", "low", 3,
        "Distance of the features' sets; not FID.",
    ),
    Metric("fid", "FID", "low", 2, "Fréchet inception distance, result to driving frames."),
)  # fmt: skip

TRAIT_LABELS = {
    "yaw": "yaw, degrees",
    "pitch": "pitch, degrees",
    "roll": "roll, degrees",
    "mouth": "mouth opening",
    "eyes": "eye opening",
}


def known_metrics(results: dict[str, dict[str, Any]]) -> list[Metric]:
    """Return the metrics for which at least one contestant has a number."""
    return [
        metric
        for metric in METRICS
        if any(numbers.get(metric.key) is not None for numbers in results.values())
    ]


def format_number(value: float | None, digits: int) -> str:
    """Return a number as text; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def format_correlation(found: dict[str, float | None]) -> str:
    """Return a trait's correlation as text: over all clips, less each clip's mean, and the clips' median."""
    return f"{format_number(found['pooled_centred'], 3)} ({format_number(found['clip_median'], 3)})"
