"""What one step minimises: which terms, on which pictures, with which weights."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.config import LossWeights, TrainParams
from fomm.model import Keypoints, KPDetector, MultiScaleDiscriminator, OcclusionAwareGenerator
from fomm.model.geometry import enlarge_deformation, warp
from fomm.training import losses
from fomm.training.dataset import Batch
from fomm.training.flow import Flow
from fomm.training.losses import ImagePyramid, RandomTransform
from fomm.training.needs import looks_at_pictures
from fomm.training.transfer import transfer
from fomm.training.windows import Windows


class Networks(NamedTuple):
    """The networks of a run; the discriminator where an adversarial term is weighted."""

    generator: OcclusionAwareGenerator
    kp_detector: KPDetector
    discriminator: MultiScaleDiscriminator | None = None


class Criteria(NamedTuple):
    """What compares pictures, key points and motion with the true ones: the same in every step."""

    weights: LossWeights
    pyramid: ImagePyramid
    perceptual: nn.Module | None = None  # the network of the perceptual term, where it is weighted
    low: AbstractContextManager = nullcontext()  # around the networks, such as autocast; losses are float32


class Output(NamedTuple):
    """What the generator's pass leaves for the discriminator's and for the picture grid."""

    kp_source: Keypoints
    kp_driving: Keypoints
    real: dict[float, Tensor]  # the driving frames, by scale
    generated: dict[float, Tensor]  # their reconstruction, by scale
    generator: dict[str, Tensor]  # of OcclusionAwareGenerator
    windows: Windows | None  # those that were painted


def generator_losses(
    networks: Networks,
    batch: Batch,
    criteria: Criteria,
    transform: RandomTransform | None = None,
    windows: Windows | None = None,
    transfers: Tensor | None = None,
) -> tuple[dict[str, Tensor], Output | None]:
    """The weighted terms for the generator and the key-point detector, by name; their sum is minimised.

    Args:
        transform: for the equivariance terms, where they are weighted.
        windows: what is painted and compared of each picture; None: all of it. Key points and motion are
            those of the whole in any case.
        transfers: B bools, which of the pairs are driven as another person would, see ``transfer``.

    Returns:
        The terms, and what was painted for them; None where no weighted term looks at a painted picture.
    """
    weights, low = criteria.weights, criteria.low
    # two passes, as published: in training each normalises by its own batch
    with low:
        kp_source, kp_driving = networks.kp_detector(batch.source), networks.kp_detector(batch.driving)
    terms: dict[str, Tensor] = {}
    if transform is not None and (weights.equivariance_value or weights.equivariance_jacobian):
        moved = transform.image(batch.driving)
        with low:
            transformed = networks.kp_detector(moved)
        value, jacobian = losses.equivariance_losses(kp_driving, transformed, transform)
        terms["equivariance_value"] = weights.equivariance_value * value
        if jacobian is not None:
            terms["equivariance_jacobian"] = weights.equivariance_jacobian * jacobian
    if batch.truth_source is not None and batch.truth_driving is not None:
        pairs = [(kp_source, batch.truth_source), (kp_driving, batch.truth_driving)]
        terms |= _key_point_terms(pairs, weights)
    if transfers is not None:
        kp_driving = transfer(kp_driving, batch, transfers)
    if not looks_at_pictures(weights):
        if _looks_at_motion(weights):
            with low:
                motion = networks.generator.dense_motion_network(batch.source, kp_source, kp_driving)
            terms |= _motion_terms(motion.deformation, motion.occlusion_map, batch, weights)
        return terms, None

    with low:
        output = networks.generator(
            batch.source, kp_source=kp_source, kp_driving=kp_driving, window=windows and windows.cut
        )
    painted, real, generated = _picture_terms(networks, batch, criteria, windows, output, kp_driving)
    terms |= painted
    terms |= _motion_terms(output["deformation"], output.get("occlusion_map"), batch, weights)
    return terms, Output(kp_source, kp_driving, real, generated, output, windows)


def painter_losses(
    networks: Networks,
    batch: Batch,
    criteria: Criteria,
    windows: Windows | None = None,
    source_window: int | None = None,
    found: Tensor | None = None,
) -> tuple[dict[str, Tensor], Output]:
    """The terms of the painted pictures, with features moved by the batch's true flow and true occlusion.

    Args:
        windows: see ``generator_losses``.
        source_window: with windows, only squares of so many pixels are encoded of the sources, around what
            the windows show. What they leave out counts as hidden.
        found: B bools, which of the pairs are painted from the motion that the networks find instead.

    Other arguments, and what is returned, are those of ``generator_losses``.
    """
    generator, known, flow = networks.generator, batch.truth_driving, batch.flow
    assert batch.truth_source is not None and known is not None and flow is not None  # see needs.py
    with criteria.low:
        source, cell = batch.source, 2 ** len(generator.down_blocks)
        flow = flow.resized(*(length // cell for length in source.shape[2:]))
        if found is not None:
            flow = _with_found_motion(flow, networks, batch, found)
        position, seen = flow.position, flow.seen[:, None]
        deformed = generator.deform(source, position)
        if windows is not None and source_window is not None:
            squares, position, seen = windows.follow(
                flow, source_window // cell, align_corners=generator.align_corners
            )
            source = squares.cut_pictures(source)
        elif windows is not None:
            position, seen = windows.cut_flow(flow)
        moved = warp(
            generator.encode(source),
            position,
            align_corners=generator.align_corners,
            bicubic=generator.bicubic,
        )
        prediction = generator.paint(moved * seen)
    output = {"prediction": prediction, "deformed": deformed, "deformation": flow.position}
    output["occlusion_map"] = flow.seen[:, None].float()
    terms, real, generated = _picture_terms(networks, batch, criteria, windows, output, known)
    return terms, Output(batch.truth_source, known, real, generated, output, windows)


@torch.no_grad()
def _with_found_motion(flow: Flow, networks: Networks, batch: Batch, chosen: Tensor) -> Flow:
    """The flow, that of the chosen pairs (B bools) as the networks find it: ``seen`` in [0, 1]."""
    chosen = chosen.to(flow.position.device)
    source, driving = batch.source[chosen], batch.driving[chosen]
    if not len(source):
        return flow
    kp_source, kp_driving = networks.kp_detector(source), networks.kp_detector(driving)
    motion = networks.generator.dense_motion_network(source, kp_source, kp_driving)
    assert motion.occlusion_map is not None  # see needs.py
    planes = torch.cat((motion.deformation.permute(0, 3, 1, 2), motion.occlusion_map), 1).float()
    planes = F.interpolate(planes, flow.seen.shape[1:], mode="bilinear", align_corners=False)
    position, seen = flow.position.clone(), flow.seen.float()
    position[chosen], seen[chosen] = planes[:, :2].permute(0, 2, 3, 1), planes[:, 2]
    return Flow(position, seen, flow.known)


def _picture_terms(
    networks: Networks,
    batch: Batch,
    criteria: Criteria,
    windows: Windows | None,
    output: dict[str, Tensor],
    kp_driving: Keypoints,
) -> tuple[dict[str, Tensor], dict[float, Tensor], dict[float, Tensor]]:
    """Distance of what was painted from the driving frames; and both by scale."""
    weights, pyramid, perceptual, low = criteria
    terms: dict[str, Tensor] = {}
    prediction = output["prediction"].float()
    wanted = batch.driving if windows is None else windows.cut_pictures(batch.driving)
    real, generated = pyramid(wanted), pyramid(prediction)
    if perceptual is not None and any(weights.perceptual):
        with low:
            distance = losses.perceptual_loss(perceptual, real, generated, weights.perceptual)
        terms["perceptual"] = distance
    if networks.discriminator is not None and weights.generator_gan:
        seen = kp_driving.map(Tensor.detach)
        with low:
            painted, true = networks.discriminator(generated, seen), networks.discriminator(real, seen)
        terms["generator_gan"] = weights.generator_gan * losses.generator_gan_loss(painted)
        if any(weights.feature_matching):
            terms["feature_matching"] = losses.feature_matching_loss(true, painted, weights.feature_matching)
    if weights.l1:
        terms["l1"] = weights.l1 * losses.reconstruction_loss(real, generated)
    if weights.l1_edges:
        terms["l1_edges"] = weights.l1_edges * losses.edge_loss(wanted, prediction)
    if weights.contrast:
        terms["contrast"] = weights.contrast * losses.contrast_loss(wanted, prediction)
    if weights.source_details:
        moved, shown = _moved_source(batch.source, output)
        if windows is not None:
            moved, shown = windows.cut_pictures(moved), windows.cut_pictures(shown)
        loss = losses.source_detail_loss(prediction, moved, shown)
        terms["source_details"] = weights.source_details * loss
    if batch.truth_source is not None and batch.truth_driving is not None:
        points, size = batch.truth_driving.value, batch.driving.shape[2:]
        for name, area in (("l1_face", losses.box_map), ("l1_keypoints", partial(_spots, weights))):
            if weight := getattr(weights, name):
                where = area(points, *size)
                if windows is not None:
                    where = windows.cut_pictures(where)
                terms[name] = weight * losses.weighted_l1(wanted, prediction, where)
    return terms, real, generated


@torch.no_grad()
def _moved_source(source: Tensor, output: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The source's pixels where its features are moved to, BxCxHxW, and how much of it shows, Bx1xHxW.

    ``deformed`` is another picture: of published networks, whose pixels lie up to half a cell beside them.
    """
    grid = enlarge_deformation(output["deformation"].float(), *source.shape[2:])
    moved = warp(source, grid, align_corners=False)
    if "occlusion_map" not in output:
        return moved, torch.ones_like(moved[:, :1])
    shown = output["occlusion_map"].float()
    return moved, F.interpolate(shown, moved.shape[2:], mode="bilinear", align_corners=False)


def _looks_at_motion(weights: LossWeights) -> bool:
    return any((weights.deformation, weights.flow, weights.occlusion))


def _motion_terms(
    deformation: Tensor, occlusion_map: Tensor | None, batch: Batch, weights: LossWeights
) -> dict[str, Tensor]:
    """Distance of the estimated motion from the true one, as synthetic data have it."""
    terms: dict[str, Tensor] = {}
    if weights.deformation and batch.truth_source is not None and batch.truth_driving is not None:
        loss = losses.deformation_loss(deformation, batch.truth_source.value, batch.truth_driving.value)
        terms["deformation"] = weights.deformation * loss
    flow = batch.flow and batch.flow.resized(*deformation.shape[1:3])
    if flow is None:
        return terms
    share = None
    if weights.motion_keypoints and batch.truth_driving is not None:
        spots = _spots(weights, batch.truth_driving.value, *deformation.shape[1:3])
        share = 1 + weights.motion_keypoints * spots
    if weights.flow:
        terms["flow"] = weights.flow * losses.flow_loss(deformation, flow, share)
    if weights.occlusion and occlusion_map is not None:
        terms["occlusion"] = weights.occlusion * losses.occlusion_loss(occlusion_map, flow, share)
    return terms


def _spots(weights: LossWeights, points: Tensor, height: int, width: int) -> Tensor:
    return losses.spot_map(points, height, width, weights.keypoint_shares)


def _key_point_terms(pairs: list[tuple[Keypoints, Keypoints]], weights: LossWeights) -> dict[str, Tensor]:
    """Distance of found key points to the true ones, as synthetic data have them."""
    terms: dict[str, Tensor] = {}
    if weights.keypoints:  # points outside of the picture cannot be found: their nearest place in it can
        distance = [(found.value - true.value.clamp(-1, 1)).abs().mean() for found, true in pairs]
        terms["keypoints"] = weights.keypoints * torch.stack(distance).mean()
    if weights.keypoint_jacobians:
        distance = [
            (found.jacobian - true.jacobian).abs().mean()
            for found, true in pairs
            if found.jacobian is not None and true.jacobian is not None
        ]
        if distance:
            terms["keypoint_jacobians"] = weights.keypoint_jacobians * torch.stack(distance).mean()
    return terms


def discriminator_losses(
    discriminator: MultiScaleDiscriminator, output: Output, criteria: Criteria
) -> dict[str, Tensor]:
    """The weighted terms for the discriminator, by name."""
    seen = output.kp_driving.map(Tensor.detach)
    painted = {scale: image.detach() for scale, image in output.generated.items()}
    with criteria.low:
        true, made = discriminator(output.real, seen), discriminator(painted, seen)
    return {
        "discriminator_gan": criteria.weights.discriminator_gan * losses.discriminator_gan_loss(true, made)
    }


class GeneratorObjective(nn.Module):
    """The losses as one module with the networks that they train, so that processes can share it."""

    def __init__(self, networks: Networks, params: TrainParams, criteria: Criteria) -> None:
        super().__init__()
        self.generator, self.kp_detector = networks.generator, networks.kp_detector
        self._rest = (networks, params, criteria)  # in a tuple: looked at, not trained here

    def forward(
        self,
        batch: Batch,
        transform: RandomTransform | None,
        windows: Windows | None,
        chosen: Tensor | None,
    ) -> tuple[dict[str, Tensor], Output | None]:
        """``chosen``: of ``painter_losses`` those found, of ``generator_losses`` the transfers."""
        networks, params, criteria = self._rest
        if params.true_motion:
            return painter_losses(networks, batch, criteria, windows, params.source_window, chosen)
        return generator_losses(networks, batch, criteria, transform, windows, chosen)


class DiscriminatorObjective(nn.Module):
    """``discriminator_losses`` as one module with the discriminator."""

    def __init__(self, discriminator: MultiScaleDiscriminator, criteria: Criteria) -> None:
        super().__init__()
        self.discriminator, self._criteria = discriminator, criteria

    def forward(self, output: Output) -> dict[str, Tensor]:
        return discriminator_losses(self.discriminator, output, self._criteria)
