"""What one step minimises: which terms, on which pictures, with which weights."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fomm.config import LossWeights
from fomm.model import Keypoints, KPDetector, MultiScaleDiscriminator, OcclusionAwareGenerator
from fomm.training import losses
from fomm.training.dataset import Batch
from fomm.training.losses import ImagePyramid, RandomTransform


class Networks(NamedTuple):
    """The networks of a run; the discriminator where an adversarial term is weighted."""

    generator: OcclusionAwareGenerator
    kp_detector: KPDetector
    discriminator: MultiScaleDiscriminator | None = None


class Output(NamedTuple):
    """What the generator's pass leaves for the discriminator's and for the picture grid."""

    kp_source: Keypoints
    kp_driving: Keypoints
    real: dict[float, Tensor]  # the driving frames, by scale
    generated: dict[float, Tensor]  # their reconstruction, by scale
    generator: dict[str, Tensor]  # of OcclusionAwareGenerator


def generator_losses(
    networks: Networks,
    batch: Batch,
    weights: LossWeights,
    pyramid: ImagePyramid,
    transform: RandomTransform | None,
    perceptual: nn.Module | None,
) -> tuple[dict[str, Tensor], Output]:
    """The weighted terms for the generator and the key-point detector, by name; their sum is minimised.

    Args:
        transform: for the equivariance terms, where they are weighted.
        perceptual: the network of the perceptual term, where it is weighted.
    """
    # two passes, as published: in training each normalises by its own batch
    kp_source, kp_driving = networks.kp_detector(batch.source), networks.kp_detector(batch.driving)
    output = networks.generator(batch.source, kp_source=kp_source, kp_driving=kp_driving)
    real, generated = pyramid(batch.driving), pyramid(output["prediction"])

    terms: dict[str, Tensor] = {}
    if perceptual is not None and any(weights.perceptual):
        terms["perceptual"] = losses.perceptual_loss(perceptual, real, generated, weights.perceptual)
    if networks.discriminator is not None and weights.generator_gan:
        seen = kp_driving.map(Tensor.detach)
        painted, true = networks.discriminator(generated, seen), networks.discriminator(real, seen)
        terms["generator_gan"] = weights.generator_gan * losses.generator_gan_loss(painted)
        if any(weights.feature_matching):
            terms["feature_matching"] = losses.feature_matching_loss(true, painted, weights.feature_matching)
    if transform is not None and (weights.equivariance_value or weights.equivariance_jacobian):
        transformed = networks.kp_detector(transform.image(batch.driving))
        value, jacobian = losses.equivariance_losses(kp_driving, transformed, transform)
        terms["equivariance_value"] = weights.equivariance_value * value
        if jacobian is not None:
            terms["equivariance_jacobian"] = weights.equivariance_jacobian * jacobian
    if weights.l1:
        terms["l1"] = weights.l1 * losses.reconstruction_loss(real, generated)
    if batch.truth_source is not None and batch.truth_driving is not None:
        truth = [batch.truth_source, batch.truth_driving]
        terms |= _supervised_terms(
            batch.driving, output["prediction"], [kp_source, kp_driving], truth, weights
        )
    return terms, Output(kp_source, kp_driving, real, generated, output)


def _supervised_terms(
    driving: Tensor, prediction: Tensor, found: list[Keypoints], truth: list[Keypoints], weights: LossWeights
) -> dict[str, Tensor]:
    """Terms that use the true key points of source and driving frame, as synthetic data have them."""
    height, width = driving.shape[2:]
    points = truth[1].value
    terms: dict[str, Tensor] = {}
    if weights.l1_face:
        area = losses.box_map(points, height, width)
        terms["l1_face"] = weights.l1_face * losses.weighted_l1(driving, prediction, area)
    if weights.l1_keypoints:
        area = losses.spot_map(points, height, width)
        terms["l1_keypoints"] = weights.l1_keypoints * losses.weighted_l1(driving, prediction, area)
    pairs = list(zip(found, truth, strict=True))
    if weights.keypoints:  # points outside of the picture cannot be found: their nearest place in it can
        distance = [(kp.value - true.value.clamp(-1, 1)).abs().mean() for kp, true in pairs]
        terms["keypoints"] = weights.keypoints * torch.stack(distance).mean()
    jacobians = [(kp.jacobian, true.jacobian) for kp, true in pairs]
    if weights.keypoint_jacobians and jacobians[0][0] is not None:
        distance = [(a - b).abs().mean() for a, b in jacobians if a is not None and b is not None]
        terms["keypoint_jacobians"] = weights.keypoint_jacobians * torch.stack(distance).mean()
    return terms


def discriminator_losses(
    discriminator: MultiScaleDiscriminator, output: Output, weights: LossWeights
) -> dict[str, Tensor]:
    """The weighted terms for the discriminator, by name."""
    seen = output.kp_driving.map(Tensor.detach)
    painted = {scale: image.detach() for scale, image in output.generated.items()}
    loss = losses.discriminator_gan_loss(discriminator(output.real, seen), discriminator(painted, seen))
    return {"discriminator_gan": weights.discriminator_gan * loss}
