"""The weighted losses of one step, by name.

A loss comes in if its weight is not 0 and the batch has what it compares with. ``losses`` computes it; here
it gets its pictures, its points and its weight.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.config import LossWeights
from fomm.model import Keypoints, KPDetector, MultiScaleDiscriminator
from fomm.model.geometry import enlarge_deformation, warp
from fomm.training import losses
from fomm.training.dataset import Batch
from fomm.training.losses import ImagePyramid, RandomTransform
from fomm.training.windows import Windows

Terms = dict[str, Tensor]  # weighted losses, scalars, by the names of their weights


class Criteria(NamedTuple):
    """What compares pictures, key points and motion with the true ones: the same in every step."""

    weights: LossWeights
    pyramid: ImagePyramid
    perceptual: nn.Module | None = None  # the network of the perceptual loss, where that is weighted
    autocast: AbstractContextManager[object] = nullcontext()  # around the networks; losses are float32


class Output(NamedTuple):
    """What the generator's pass leaves for the discriminator's and for the picture grid."""

    kp_source: Keypoints
    kp_driving: Keypoints
    wanted: Tensor  # BxCxHxW in [0, 1]: the driving frames, or the windows of them
    prediction: Tensor  # of the same shape: what was painted, in float32
    real: dict[float, Tensor]  # ``wanted`` by scale
    generated: dict[float, Tensor]  # ``prediction`` by scale
    maps: dict[str, Tensor]  # what OcclusionAwareGenerator returns
    windows: Windows | None  # those that were painted; None: whole pictures


# -- losses of painted pictures --------------------------------------------------------------------


def collect_output(
    kp_source: Keypoints,
    kp_driving: Keypoints,
    batch: Batch,
    criteria: Criteria,
    maps: dict[str, Tensor],
    windows: Windows | None,
) -> Output:
    """Lay what was painted beside the driving frames, both by scale."""
    wanted, prediction = _crop(batch.driving, windows), maps["prediction"].float()
    real, generated = criteria.pyramid(wanted), criteria.pyramid(prediction)
    return Output(kp_source, kp_driving, wanted, prediction, real, generated, maps, windows)


def _crop(pictures: Tensor, windows: Windows | None) -> Tensor:
    """Return the windows of pictures BxCxHxW, or the whole of them."""
    return pictures if windows is None else windows.cut_pictures(pictures)


def picture_terms(
    discriminator: MultiScaleDiscriminator | None, batch: Batch, criteria: Criteria, output: Output
) -> Terms:
    """Compute the losses of what was painted against the driving frames."""
    return {
        **_perceptual_terms(criteria, output),
        **_adversarial_terms(discriminator, criteria, output),
        **_pixel_terms(criteria.weights, output),
        **_source_detail_terms(batch.source, criteria.weights, output),
        **_area_terms(batch, criteria.weights, output),
    }


def _perceptual_terms(criteria: Criteria, output: Output) -> Terms:
    weights = criteria.weights.perceptual
    if criteria.perceptual is None or not any(weights):
        return {}
    with criteria.autocast:
        loss = losses.perceptual_loss(criteria.perceptual, output.real, output.generated, weights)
    return {"perceptual": loss}


def _adversarial_terms(
    discriminator: MultiScaleDiscriminator | None, criteria: Criteria, output: Output
) -> Terms:
    weights = criteria.weights
    if discriminator is None or not weights.generator_gan:
        return {}
    points = output.kp_driving.map(Tensor.detach)
    with criteria.autocast:
        painted_maps, real_maps = discriminator(output.generated, points), discriminator(output.real, points)
    terms = {"generator_gan": weights.generator_gan * losses.generator_gan_loss(painted_maps)}
    if any(weights.feature_matching):
        loss = losses.feature_matching_loss(real_maps, painted_maps, weights.feature_matching)
        terms["feature_matching"] = loss
    return terms


def _pixel_terms(weights: LossWeights, output: Output) -> Terms:
    terms: Terms = {}
    if weights.l1:
        terms["l1"] = weights.l1 * losses.reconstruction_loss(output.real, output.generated)
    if weights.l1_edges:
        terms["l1_edges"] = weights.l1_edges * losses.edge_loss(output.wanted, output.prediction)
    if weights.contrast:
        terms["contrast"] = weights.contrast * losses.contrast_loss(output.wanted, output.prediction)
    return terms


def _source_detail_terms(source: Tensor, weights: LossWeights, output: Output) -> Terms:
    if not weights.source_details:
        return {}
    moved, shown = (_crop(images, output.windows) for images in _move_pixels(source, output.maps))
    loss = losses.source_detail_loss(output.prediction, moved, shown)
    return {"source_details": weights.source_details * loss}


@torch.no_grad()
def _move_pixels(source: Tensor, maps: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Move the source's pixels, BxCxHxW, as its features are moved, and tell how much of it shows, Bx1xHxW.

    The generator's ``deformed`` is another picture: in networks with ``align_corners``, as published, its
    pixels lie up to half a feature beside these.
    """
    grid = enlarge_deformation(maps["deformation"].float(), *source.shape[2:])
    moved = warp(source, grid, align_corners=False)
    if "occlusion_map" not in maps:
        return moved, torch.ones_like(moved[:, :1])
    shown = maps["occlusion_map"].float()
    return moved, F.interpolate(shown, moved.shape[2:], mode="bilinear", align_corners=False)


def _area_terms(batch: Batch, weights: LossWeights, output: Output) -> Terms:
    """Compute the losses that count around the true key points alone."""
    terms: Terms = {}
    if batch.truth_source is None or batch.truth_driving is None:
        return terms
    points, (height, width) = batch.truth_driving.value, batch.driving.shape[2:]
    if weights.l1_face:
        area = _crop(losses.box_map(points, height, width), output.windows)
        terms["l1_face"] = weights.l1_face * losses.weighted_l1(output.wanted, output.prediction, area)
    if weights.l1_keypoints:
        area = losses.spot_map(points, height, width, weights.keypoint_shares)
        loss = losses.weighted_l1(output.wanted, output.prediction, _crop(area, output.windows))
        terms["l1_keypoints"] = weights.l1_keypoints * loss
    return terms


# -- losses of key points and motion ---------------------------------------------------------------


def equivariance_terms(
    kp_detector: KPDetector,
    driving: Tensor,
    kp_driving: Keypoints,
    transform: RandomTransform | None,
    criteria: Criteria,
) -> Terms:
    """Compute the equivariance losses (equations 10 and 11), where there is a transform for them."""
    weights = criteria.weights
    if transform is None or not (weights.equivariance_value or weights.equivariance_jacobian):
        return {}
    transformed = transform.warp_image(driving)
    with criteria.autocast:
        kp_transformed = kp_detector(transformed)
    value, jacobian = losses.equivariance_losses(kp_driving, kp_transformed, transform)
    terms = {"equivariance_value": weights.equivariance_value * value}
    if jacobian is not None:
        terms["equivariance_jacobian"] = weights.equivariance_jacobian * jacobian
    return terms


def key_point_terms(kp_source: Keypoints, kp_driving: Keypoints, batch: Batch, weights: LossWeights) -> Terms:
    """Compute the distance of the found key points from the true ones, where the data have them."""
    terms: Terms = {}
    if batch.truth_source is None or batch.truth_driving is None:
        return terms
    pairs = [(kp_source, batch.truth_source), (kp_driving, batch.truth_driving)]
    if weights.keypoints:
        # A point outside of the picture cannot be found. The nearest place inside is asked for instead.
        distances = [(found.value - true.value.clamp(-1, 1)).abs().mean() for found, true in pairs]
        terms["keypoints"] = weights.keypoints * torch.stack(distances).mean()
    if weights.keypoint_jacobians:
        distances = [
            (found.jacobian - true.jacobian).abs().mean()
            for found, true in pairs
            if found.jacobian is not None and true.jacobian is not None
        ]
        if distances:
            terms["keypoint_jacobians"] = weights.keypoint_jacobians * torch.stack(distances).mean()
    return terms


def motion_terms(
    deformation: Tensor, occlusion_map: Tensor | None, batch: Batch, weights: LossWeights
) -> Terms:
    """Compute the distance of the estimated motion from the true one, where the data have it."""
    terms: Terms = {}
    if weights.deformation and batch.truth_source is not None and batch.truth_driving is not None:
        loss = losses.deformation_loss(deformation, batch.truth_source.value, batch.truth_driving.value)
        terms["deformation"] = weights.deformation * loss
    if batch.flow is None:
        return terms
    height, width = deformation.shape[1:3]
    flow, weight = batch.flow.resize(height, width), None
    if weights.motion_keypoints and batch.truth_driving is not None:
        spots = losses.spot_map(batch.truth_driving.value, height, width, weights.keypoint_shares)
        weight = 1 + weights.motion_keypoints * spots
    if weights.flow:
        terms["flow"] = weights.flow * losses.flow_loss(deformation, flow, weight)
    if weights.occlusion and occlusion_map is not None:
        terms["occlusion"] = weights.occlusion * losses.occlusion_loss(occlusion_map, flow, weight)
    return terms
