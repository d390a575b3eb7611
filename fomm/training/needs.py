"""Which losses are weighted, what they need (painted pictures, true key points, true motion), and checks."""

from fomm.config import Config, LossWeights, TrainParams
from fomm.errors import ConfigError, InputError
from fomm.training.dataset import Batch


def looks_at_pictures(weights: LossWeights) -> bool:
    """Return whether a weighted loss looks at painted pictures; without one nothing is painted."""
    pixels = (weights.l1, weights.l1_face, weights.l1_keypoints, weights.l1_edges)
    details = (weights.contrast, weights.source_details)
    return any((*pixels, *details, *weights.perceptual, weights.generator_gan))


def looks_at_motion(weights: LossWeights) -> bool:
    """Return whether a weighted loss looks at the estimated motion."""
    return any((weights.deformation, weights.flow, weights.occlusion))


def needs_truth(params: TrainParams) -> bool:
    """Return whether a weighted loss, or the painting, uses true key points or true motion."""
    weights = params.loss_weights
    points = (weights.l1_face, weights.l1_keypoints, *_point_weights(params))
    return any(points) or bool(weights.deformation) or needs_flow(params)


def needs_flow(params: TrainParams) -> bool:
    """Return whether the true motion of every pixel is needed."""
    return params.true_motion or bool(params.loss_weights.flow or params.loss_weights.occlusion)


def _point_weights(params: TrainParams) -> tuple[float, ...]:
    """Return the settings that compare found key points with true ones; 0 turns each off."""
    return params.loss_weights.keypoints, params.loss_weights.keypoint_jacobians, params.transfer


def check_points(params: TrainParams, batch: Batch, num_kp: int) -> None:
    """Check that the data have as many true key points as the networks find, where they are compared.

    Raises:
        InputError: they have not.
    """
    count = num_kp if batch.truth_source is None else batch.truth_source.value.shape[1]
    if count != num_kp and any(_point_weights(params)):
        raise InputError(
            f"the clips come with {count} true key points each, but the networks find {num_kp} (num_kp): set "
            "num_kp to that, or loss_weights.keypoints, keypoint_jacobians and train_params.transfer to 0"
        )


def check_truth(config: Config) -> None:
    """Check that the settings of true key points and true motion fit the others.

    Raises:
        ConfigError: they do not.
    """
    params, count = config.train_params, config.model_params.common_params.num_kp
    if params is None:
        return
    if params.true_motion and not config.model_params.generator_params.estimate_occlusion_map:
        raise ConfigError(
            "train_params.true_motion hides what the source does not show, as an occlusion map does; set "
            "generator_params.estimate_occlusion_map, or train without true_motion"
        )
    if params.found_motion and not params.true_motion:
        raise ConfigError(
            "train_params.found_motion says how many of the pairs true_motion leaves to the motion that is "
            "found; set true_motion too, or take it out: without it all pairs are painted so"
        )
    if params.true_motion and params.transfer:
        raise ConfigError(
            "train_params.transfer changes the key points that the motion is made from, and true_motion does "
            "without them; take one of the two out"
        )
    augmentation = config.dataset_params.augmentation_params
    if needs_flow(params) and augmentation and augmentation.crop_param:
        raise ConfigError(
            "the true motion (train_params.true_motion, loss_weights.flow and occlusion) is that of whole "
            "frames, which crop_param cuts; take that out of augmentation_params, and give it a camera_param"
        )
    shares = params.loss_weights.keypoint_shares
    if shares and len(shares) != count:
        raise ConfigError(
            f"train_params.loss_weights.keypoint_shares has {len(shares)} numbers, but the networks have "
            f"{count} key points (num_kp): give one for each, or none"
        )
