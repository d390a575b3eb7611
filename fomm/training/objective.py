"""What one step minimises: which losses, on which pictures, with which weights."""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.config import LossWeights, TrainParams
from fomm.model import Keypoints, KPDetector, MultiScaleDiscriminator, OcclusionAwareGenerator
from fomm.model.geometry import enlarged, warp
from fomm.training import losses
from fomm.training.dataset import Batch
from fomm.training.flow import Flow
from fomm.training.losses import ImagePyramid, RandomTransform
from fomm.training.needs import looks_at_motion, looks_at_pictures
from fomm.training.transfer import transfer
from fomm.training.windows import Windows

Terms = dict[str, Tensor]  # weighted losses, scalars, by the names of their weights


class Networks(NamedTuple):
    """The networks of a run; the discriminator where an adversarial term is weighted."""

    generator: OcclusionAwareGenerator
    kp_detector: KPDetector
    discriminator: MultiScaleDiscriminator | None = None


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


def generator_losses(
    networks: Networks,
    batch: Batch,
    criteria: Criteria,
    transform: RandomTransform | None = None,
    windows: Windows | None = None,
    transfers: Tensor | None = None,
) -> tuple[Terms, Output | None]:
    """Compute the weighted losses for the generator and the key-point detector; their sum is minimised.

    Args:
        networks: in training mode.
        batch: the pairs.
        criteria: weights, and what compares.
        transform: for the equivariance terms, where they are weighted.
        windows: what is painted and compared of each picture; None: all of it. Key points and motion are
            found in the whole picture in any case.
        transfers: B bools, which of the pairs are driven as another person would, see ``transfer``.

    Returns:
        The losses by name, and what was painted; None where no weighted loss looks at a painted picture.
    """
    generator, weights = networks.generator, criteria.weights
    # two passes, as published: in training each normalises by its own batch
    with criteria.autocast:
        kp_source, kp_driving = networks.kp_detector(batch.source), networks.kp_detector(batch.driving)
    terms = _equivariance_terms(networks.kp_detector, batch.driving, kp_driving, transform, criteria)
    terms |= _key_point_terms(kp_source, kp_driving, batch, weights)
    if transfers is not None:
        kp_driving = transfer(kp_driving, batch, transfers)
    if looks_at_pictures(weights):
        with criteria.autocast:
            maps = generator(
                batch.source, kp_source=kp_source, kp_driving=kp_driving, window=windows and windows.cut
            )
        output = _collect_output(kp_source, kp_driving, batch, criteria, maps, windows)
        terms |= _picture_terms(networks, batch, criteria, output)
        terms |= _motion_terms(maps["deformation"], maps.get("occlusion_map"), batch, weights)
        return terms, output
    if looks_at_motion(weights):
        with criteria.autocast:
            motion = generator.dense_motion_network(batch.source, kp_source, kp_driving)
        terms |= _motion_terms(motion.deformation, motion.occlusion_map, batch, weights)
    return terms, None


def painter_losses(
    networks: Networks,
    batch: Batch,
    criteria: Criteria,
    windows: Windows | None = None,
    source_window: int | None = None,
    found: Tensor | None = None,
) -> tuple[Terms, Output]:
    """Compute the losses of pictures that are painted from the batch's true motion and true occlusion.

    Args:
        networks: only those parts of the generator train that encode and paint.
        batch: with true key points and true flow.
        criteria: weights, and what compares.
        windows: what is painted and compared of each picture; None: all of it.
        source_window: with windows, only squares of so many pixels are encoded of the sources, around what
            the windows show. What lies outside of a square counts as hidden.
        found: B bools, which of the pairs are painted from the motion that the networks find instead.

    Returns:
        The losses by name, and what was painted.
    """
    generator = networks.generator
    assert batch.truth_source is not None and batch.truth_driving is not None  # see needs.py
    assert batch.flow is not None
    with criteria.autocast:
        cell = 2 ** len(generator.down_blocks)  # pixels of a picture for one of its features
        height, width = (length // cell for length in batch.source.shape[2:])
        flow = batch.flow.resize(height, width)
        if found is not None:
            flow = _put_found_motion(flow, networks, batch, found)
        side = None if source_window is None else source_window // cell
        maps = {
            "deformed": generator.deform(batch.source, flow.position),
            "prediction": generator.paint(_move_features(generator, batch.source, flow, windows, side)),
            "deformation": flow.position,
            "occlusion_map": flow.seen[:, None].float(),
        }
    output = _collect_output(batch.truth_source, batch.truth_driving, batch, criteria, maps, windows)
    return _picture_terms(networks, batch, criteria, output), output


def discriminator_losses(discriminator: MultiScaleDiscriminator, output: Output, criteria: Criteria) -> Terms:
    """Compute the weighted losses for the discriminator; no gradient reaches the generator."""
    points = output.kp_driving.map(Tensor.detach)
    painted = {scale: image.detach() for scale, image in output.generated.items()}
    with criteria.autocast:
        real_maps, painted_maps = discriminator(output.real, points), discriminator(painted, points)
    loss = losses.discriminator_gan_loss(real_maps, painted_maps)
    return {"discriminator_gan": criteria.weights.discriminator_gan * loss}


class GeneratorObjective(nn.Module):
    """The losses as one module with the networks that they train, so that processes can share it."""

    def __init__(self, networks: Networks, params: TrainParams, criteria: Criteria) -> None:
        super().__init__()
        self.generator, self.kp_detector = networks.generator, networks.kp_detector
        # in a tuple, so that the modules in them are no parts of this one, and do not train here
        self._rest = (networks, params, criteria)

    def forward(
        self,
        batch: Batch,
        transform: RandomTransform | None,
        windows: Windows | None,
        subset: Tensor | None,
    ) -> tuple[Terms, Output | None]:
        """Compute ``painter_losses`` with ``true_motion``, else ``generator_losses``.

        ``subset``, B bools, is what the former calls ``found`` and the latter ``transfers``.
        """
        networks, params, criteria = self._rest
        if params.true_motion:
            return painter_losses(networks, batch, criteria, windows, params.source_window, subset)
        return generator_losses(networks, batch, criteria, transform, windows, subset)


class DiscriminatorObjective(nn.Module):
    """``discriminator_losses`` as one module with the discriminator."""

    def __init__(self, discriminator: MultiScaleDiscriminator, criteria: Criteria) -> None:
        super().__init__()
        self.discriminator, self._criteria = discriminator, criteria

    def forward(self, output: Output) -> Terms:
        return discriminator_losses(self.discriminator, output, self._criteria)


# -- painting from the true motion -----------------------------------------------------------------


@torch.no_grad()
def _put_found_motion(flow: Flow, networks: Networks, batch: Batch, found: Tensor) -> Flow:
    """Return the flow with that of some pairs (B bools) as the networks find it: ``seen`` in [0, 1]."""
    found = found.to(flow.position.device)
    source, driving = batch.source[found], batch.driving[found]
    if not len(source):
        return flow
    kp_source, kp_driving = networks.kp_detector(source), networks.kp_detector(driving)
    motion = networks.generator.dense_motion_network(source, kp_source, kp_driving)
    assert motion.occlusion_map is not None  # see needs.py
    planes = torch.cat((motion.deformation.permute(0, 3, 1, 2), motion.occlusion_map), 1).float()
    planes = F.interpolate(planes, flow.seen.shape[1:], mode="bilinear", align_corners=False)
    position, seen = flow.position.clone(), flow.seen.float()
    position[found], seen[found] = planes[:, :2].permute(0, 2, 3, 1), planes[:, 2]
    return Flow(position, seen, flow.known)


def _move_features(
    generator: OcclusionAwareGenerator, source: Tensor, flow: Flow, windows: Windows | None, side: int | None
) -> Tensor:
    """Encode the sources, move their features by the flow, and set those to 0 that the source hides.

    Args:
        generator: whose encoder is used.
        source: BxCxHxW in [0, 1].
        flow: on the grid of the features.
        windows: what is moved; None: all of it.
        side: with windows, the side in cells of the squares of the source that are encoded; None: all of it.

    Returns:
        BxFxhxw, for ``OcclusionAwareGenerator.paint``.
    """
    position, seen = flow.position, flow.seen[:, None]
    if windows is not None and side is not None:
        squares, position, seen = windows.follow(flow, side, align_corners=generator.align_corners)
        source = squares.cut_pictures(source)
    elif windows is not None:
        position, seen = windows.cut_flow(flow)
    features = generator.encode(source)
    moved = warp(features, position, align_corners=generator.align_corners, bicubic=generator.bicubic)
    return moved * seen


# -- losses of painted pictures --------------------------------------------------------------------


def _collect_output(
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


def _picture_terms(networks: Networks, batch: Batch, criteria: Criteria, output: Output) -> Terms:
    """Compute the losses of what was painted against the driving frames."""
    return {
        **_perceptual_terms(criteria, output),
        **_adversarial_terms(networks.discriminator, criteria, output),
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
    grid = enlarged(maps["deformation"].float(), *source.shape[2:])
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


def _equivariance_terms(
    kp_detector: KPDetector,
    driving: Tensor,
    kp_driving: Keypoints,
    transform: RandomTransform | None,
    criteria: Criteria,
) -> Terms:
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


def _key_point_terms(
    kp_source: Keypoints, kp_driving: Keypoints, batch: Batch, weights: LossWeights
) -> Terms:
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


def _motion_terms(
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
