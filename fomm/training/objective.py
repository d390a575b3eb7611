"""What one step minimises: which losses, on which pictures, with which weights."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fomm.config import TrainParams
from fomm.model import KPDetector, MultiScaleDiscriminator, OcclusionAwareGenerator
from fomm.model.geometry import warp
from fomm.training import losses
from fomm.training.dataset import Batch
from fomm.training.flow import Flow
from fomm.training.losses import RandomTransform
from fomm.training.needs import looks_at_motion, looks_at_pictures
from fomm.training.terms import (
    Criteria,
    Output,
    Terms,
    collect_output,
    equivariance_terms,
    key_point_terms,
    motion_terms,
    picture_terms,
)
from fomm.training.transfer import transfer
from fomm.training.windows import Windows


class Networks(NamedTuple):
    """The networks of a run; the discriminator where an adversarial term is weighted."""

    generator: OcclusionAwareGenerator
    kp_detector: KPDetector
    discriminator: MultiScaleDiscriminator | None = None


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
    terms = equivariance_terms(networks.kp_detector, batch.driving, kp_driving, transform, criteria)
    terms |= key_point_terms(kp_source, kp_driving, batch, weights)
    if transfers is not None:
        kp_driving = transfer(kp_driving, batch, transfers)
    if looks_at_pictures(weights):
        with criteria.autocast:
            maps = generator(
                batch.source, kp_source=kp_source, kp_driving=kp_driving, window=windows and windows.cut
            )
        output = collect_output(kp_source, kp_driving, batch, criteria, maps, windows)
        terms |= picture_terms(networks.discriminator, batch, criteria, output)
        terms |= motion_terms(maps["deformation"], maps.get("occlusion_map"), batch, weights)
        return terms, output
    if looks_at_motion(weights):
        with criteria.autocast:
            motion = generator.dense_motion_network(batch.source, kp_source, kp_driving)
        terms |= motion_terms(motion.deformation, motion.occlusion_map, batch, weights)
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
    # check_truth and open_pairs have seen to these
    assert batch.truth_source is not None
    assert batch.truth_driving is not None
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
    output = collect_output(batch.truth_source, batch.truth_driving, batch, criteria, maps, windows)
    return picture_terms(networks.discriminator, batch, criteria, output), output


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
        """Compute ``discriminator_losses``."""
        return discriminator_losses(self.discriminator, output, self._criteria)


# -- painting from the true motion -----------------------------------------------------------------


@torch.no_grad()
def _put_found_motion(flow: Flow, networks: Networks, batch: Batch, found: Tensor) -> Flow:
    """Return the flow with that of some pairs (B bools on the CPU) as the networks find it.

    ``seen`` is then in [0, 1].
    """
    # as numbers of pairs: to count bools, the CPU would wait for the device
    found = found.nonzero()[:, 0].to(flow.position.device, non_blocking=True)
    source, driving = batch.source[found], batch.driving[found]
    if not len(source):
        return flow
    kp_source, kp_driving = networks.kp_detector(source), networks.kp_detector(driving)
    motion = networks.generator.dense_motion_network(source, kp_source, kp_driving)
    assert motion.occlusion_map is not None  # check_truth has seen to it
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
