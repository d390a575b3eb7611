"""Every setting of a network and of its training, under the published names, declared once.

A YAML file becomes a frozen ``Config``. An unknown key or a value of the wrong kind is a ``ConfigError`` that
names it. A file with only ``dataset_params.frame_shape`` and ``model_params`` is enough to animate.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fomm.bundled import bundled
from fomm.config.reading import parse, plain, read_yaml
from fomm.errors import ConfigError


def _between(low: float, high: float, **default: Any) -> Any:
    """Declare a number, or numbers, between two bounds, both included; further keywords go to ``field``."""
    return field(metadata={"low": low, "high": high}, **default)


def _count(high: int, **default: Any) -> Any:
    """Declare a whole number from 1 to ``high``."""
    return _between(1, high, **default)


# -- the data --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlipParams:
    """Flips that pairs are augmented by."""

    horizontal_flip: bool = False  # mirror a clip, half of the time
    time_flip: bool = False  # play it backwards, half of the time


@dataclass(frozen=True)
class ResizeParams:
    """Changes of size that pairs are augmented by."""

    ratio: tuple[float, float] = _between(0.1, 10)  # smallest and largest factor


@dataclass(frozen=True)
class CropParams:
    """Crops that pairs are augmented by."""

    size: tuple[int, int] = _count(8192)  # height, width of a random crop, pixels


@dataclass(frozen=True)
class JitterParams:
    """Changes of colour that pairs are augmented by."""

    brightness: float = _between(0, 10, default=0)  # a factor drawn from 1 - this to 1 + this
    contrast: float = _between(0, 10, default=0)
    saturation: float = _between(0, 10, default=0)
    # a shift drawn from -this to +this, in turns of the colour wheel
    hue: float = _between(0, 0.5, default=0)


@dataclass(frozen=True)
class CameraParams:
    """A camera that rolls, zooms and shifts over the frames of a pair; the published recipe has none."""

    rotation: float = _between(0, 3.2, default=0)  # deviation of the roll, radians
    zoom: tuple[float, float] = _between(0.1, 10, default=(1.0, 1.0))  # smallest and largest side of the view
    shift: float = _between(0, 1, default=0)  # deviation, of half the picture's side
    shared: float = _between(0, 1, default=1)  # the share of pairs with one camera for both frames
    still: float = _between(0, 1, default=0)  # the share of pairs that are one frame twice


@dataclass(frozen=True)
class DegradeParams:
    """Blur, noise and sharpening, alike for both frames of a pair; the published recipe has none."""

    blur: float = _between(0, 1, default=0)  # the share of batches that lose resolution
    noise: float = _between(0, 1, default=0)  # largest deviation of the noise, of [0, 1]
    sharpen: float = _between(0, 10, default=0)  # the most that details are strengthened by


@dataclass(frozen=True)
class AugmentationParams:
    """The augmentations, in the order in which those that are given are applied.

    The camera may differ between the two frames of a pair; all others are alike for both.
    """

    flip_param: FlipParams | None = None
    resize_param: ResizeParams | None = None
    crop_param: CropParams | None = None
    jitter_param: JitterParams | None = None
    camera_param: CameraParams | None = None
    degrade_param: DegradeParams | None = None


@dataclass(frozen=True)
class DatasetParams:
    """The data set, and which pairs of its frames are trained on."""

    frame_shape: tuple[int, int, int] = _count(8192)  # height, width, channels: the network's size
    root_dir: str | None = None  # the folder that holds train/ and test/
    id_sampling: bool = False  # draw a person first, then one of the clips PERSON#CLIP
    shut_eyes: float = _between(0, 1, default=0)  # the share of pairs in which eyes shut; of drawn heads
    open_mouths: float = _between(0, 1, default=0)  # and in which a mouth opens
    shut_mouths: float = _between(0, 1, default=0)  # lips are apart, so that teeth show, and then together
    # a mouth that is nearly shut opens, shuts or smiles by one to four pixels of a picture of 256
    slight_mouths: float = _between(0, 1, default=0)
    pairs_list: str | None = None  # CSV of (source, driving) for animation with pairs from the test set
    augmentation_params: AugmentationParams | None = None


# -- the networks ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CommonParams:
    """What all networks share."""

    num_kp: int = _count(1024)  # key points
    num_channels: int = _count(64)  # of an image
    estimate_jacobian: bool = False  # a 2x2 local affine map with each key point


# The key points of drawn heads, in the one order that data sets, networks and weights have them in. "Left" is
# the person's own left. The networks cannot import this: they get it with the settings, see ``Openings``.
LABELS = (
    "left upper eyelid", "right upper eyelid", "left lower eyelid", "right lower eyelid",
    "left mouth corner", "right mouth corner", "upper lip", "lower lip",
    "nose tip", "chin", "left outer brow", "right outer brow",
    "forehead", "left temple", "right temple", "neck",
)  # fmt: skip


@dataclass(frozen=True)
class OpeningsParams:
    """Of labelled key points: lips as far apart as the driving ones, lids moved more; see ``open_like``."""

    mouth: float = _between(0, 10)  # 1: as far; more, for painters that follow in part
    eyes: float = _between(0, 10)


@dataclass(frozen=True)
class KPDetectorParams:
    """The key-point detector."""

    block_expansion: int = _count(4096)  # width of the hourglass's outermost level
    max_features: int = _count(65536)  # no level is wider than this; each is twice the one before
    num_blocks: int = _count(12)  # levels of the hourglass
    temperature: float = _between(1e-6, 1e6)  # of the softmax over a heat map; smaller is sharper
    scale_factor: float = _between(1 / 64, 1, default=1)  # the image is made this much smaller first
    single_jacobian_map: bool = False  # one map of jacobians for all key points
    # of the 7x7 heads: 0 cuts 3 pixels from each side of the map, 3 cuts none
    pad: int = _between(0, 3, default=0)
    openings: OpeningsParams | None = None  # only where the key points are those of drawn heads


@dataclass(frozen=True)
class DenseMotionParams:
    """The dense motion network."""

    block_expansion: int = _count(4096)
    max_features: int = _count(65536)
    num_blocks: int = _count(12)
    scale_factor: float = _between(1 / 64, 1, default=1)
    # of the gaussian that draws a key point, in [-1, 1]^2
    kp_variance: float = _between(1e-6, 100, default=0.01)


@dataclass(frozen=True)
class GeneratorParams:
    """The generator."""

    block_expansion: int = _count(4096)
    max_features: int = _count(65536)
    num_down_blocks: int = _between(0, 12)  # halvings between the image and the features that are warped
    num_bottleneck_blocks: int = _between(0, 256)  # residual blocks after the warp
    estimate_occlusion_map: bool = False  # where the source has nothing to show, inpaint
    dense_motion_params: DenseMotionParams = field(kw_only=True)
    align_corners: bool = True  # of every warp; the published weights were trained with true
    bicubic: bool = False  # features are warped by cubics, which blur them less; the published ones linearly
    details: float = _between(0, 1, default=0)  # the share of the source's finest that is moved at full size


@dataclass(frozen=True)
class DiscriminatorParams:
    """The discriminators."""

    block_expansion: int = _count(4096)
    max_features: int = _count(65536)
    num_blocks: int = _count(12)
    scales: tuple[float, ...] = _between(1 / 64, 1, default=(1,))  # of the image, one discriminator for each
    sn: bool = False  # spectral normalisation
    use_kp: bool = False  # sees the driving key points beside the image
    kp_variance: float = _between(1e-6, 100, default=0.01)
    high_pass: bool = False  # sees how pixels differ from those around them, with no instance norms


@dataclass(frozen=True)
class ModelParams:
    """All networks."""

    common_params: CommonParams
    kp_detector_params: KPDetectorParams
    generator_params: GeneratorParams
    discriminator_params: DiscriminatorParams | None = None  # needed for adversarial training only


# -- training --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TransformParams:
    """The random deformation under which the key points should move along (section 3.1 of the paper)."""

    sigma_affine: float = _between(0, 1)  # deviation of each entry of the affine map from the identity
    sigma_tps: float | None = _between(0, 1, default=None)  # deviation of the thin plate spline's values
    points_tps: int | None = _between(2, 64, default=None)  # control points along each side


@dataclass(frozen=True)
class LossWeights:
    """The weight of each term of the loss; zero, or an empty list, turns the term off."""

    generator_gan: float = _between(0, 1e6, default=0)  # least squares, for the generator
    discriminator_gan: float = _between(0, 1e6, default=0)  # least squares, for the discriminator
    feature_matching: tuple[float, ...] = _between(0, 1e6, default=())  # for each layer of the discriminator
    perceptual: tuple[float, ...] = _between(0, 1e6, default=())  # for each layer of the perceptual network
    equivariance_value: float = _between(0, 1e6, default=0)
    equivariance_jacobian: float = _between(0, 1e6, default=0)
    l1: float = _between(0, 1e6, default=0)  # of pixels in [0, 1], on each scale of the pyramid
    l1_face: float = _between(0, 1e6, default=0)  # the same within the box around the true key points
    l1_keypoints: float = _between(0, 1e6, default=0)  # the same under gaussians around the true key points
    l1_edges: float = _between(0, 1e6, default=0)  # of the differences between neighbouring pixels
    contrast: float = _between(0, 1e6, default=0)  # of how strong details are, wherever they lie
    source_details: float = _between(0, 1e6, default=0)  # from the source's, where the motion puts them
    deformation: float = _between(0, 1e6, default=0)  # of the flow at the true key points, from the true flow
    flow: float = _between(0, 1e6, default=0)  # of the flow at every pixel; what the source hides counts less
    occlusion: float = _between(0, 1e6, default=0)  # cross entropy of what the source shows
    # of each true key point in l1_keypoints and motion_keypoints, for drawn heads in the order of LABELS;
    # empty: all alike
    keypoint_shares: tuple[float, ...] = _between(0, 1, default=())
    # how many times more flow and occlusion count under gaussians around the true key points
    motion_keypoints: float = _between(0, 1e6, default=0)
    keypoints: float = _between(0, 1e6, default=0)  # distance to the true key points that come with the data
    keypoint_jacobians: float = _between(0, 1e6, default=0)  # distance to the true jacobians


@dataclass(frozen=True)
class TrainParams:
    """The training."""

    num_epochs: int = _count(10**6)
    num_repeats: int = _count(10**6)  # times that each clip (id_sampling: person) is drawn in an epoch
    epoch_milestones: tuple[int, ...] = _between(0, 10**6)  # the learning rates fall tenfold at each
    lr_generator: float = _between(0, 10)
    lr_discriminator: float = _between(0, 10)
    lr_kp_detector: float = _between(0, 10)  # zero: the key points stay as they are
    batch_size: int = _count(10**6)  # pairs in a step, over all devices
    scales: tuple[float, ...] = _between(1 / 64, 1)  # of the pyramid that the losses see
    checkpoint_freq: int = _count(10**6)  # epochs between checkpoints that are kept
    transform_params: TransformParams = field(kw_only=True)
    loss_weights: LossWeights = field(kw_only=True)
    clip_norm: float | None = _between(1e-6, 1e6, default=None)  # the gradients' norm is cut to it
    ema_decay: float | None = _between(0, 1, default=None)  # the averaged weights are saved for use
    # the learning rates fall along half a cosine to this share of themselves at the run's end, without regard
    # to the milestones; None: by the milestones
    cosine_end: float | None = _between(0, 1, default=None)
    warmup_steps: int = _between(0, 10**6, default=0)  # of a run, in which its rates climb from nearly 0
    # side of a square, pixels: so much around the face is painted and compared; None: all of the picture
    window: int | None = _between(8, 8192, default=None)
    # paint from the true flow of synthetic data: the painter alone trains, key points and motion stay
    true_motion: bool = False
    # with it, share of the pairs that are painted from the motion that the networks find
    found_motion: float = _between(0, 1, default=0)
    # with both of them, side of a square of the source, pixels: so much is seen of it; None: all of it
    source_window: int | None = _between(8, 8192, default=None)
    # share of the pairs of synthetic data that are driven as another person would: relative motion, learned
    transfer: float = _between(0, 1, default=0)
    # batch norms keep their statistics, or do not; None: as in the training of the weights that a run starts
    # from, and from nothing they do not
    freeze_norm: bool | None = None


# -- what is done with a trained network -----------------------------------------------------------


@dataclass(frozen=True)
class ReconstructionParams:
    """Settings of the published code's reconstruction: checked, and used by nothing in fomm."""

    num_videos: int = _count(10**9)  # of the test set, at most
    format: str = ".mp4"


@dataclass(frozen=True)
class NormalizationParams:
    """How the published code carries motion over in animation."""

    adapt_movement_scale: bool = False  # scale the motion by the size of the source's key points' hull
    use_relative_movement: bool = False  # move by the difference to the driving video's reference frame
    use_relative_jacobian: bool = False


@dataclass(frozen=True)
class AnimateParams:
    """Settings of the published code's animation: checked, and used by nothing in fomm."""

    num_pairs: int = _count(10**9)
    format: str = ".mp4"
    normalization_params: NormalizationParams = NormalizationParams()


@dataclass(frozen=True)
class VisualizerParams:
    """Pictures of a training."""

    kp_size: int = _count(1024, default=5)  # radius of a drawn key point, pixels
    draw_border: bool = False  # white lines between the pictures
    colormap: str = "gist_rainbow"  # of the key points, a name of matplotlib


@dataclass(frozen=True)
class Config:
    """All settings, in the sections of the published files; a section that a file lacks is ``None``."""

    dataset_params: DatasetParams
    model_params: ModelParams
    train_params: TrainParams | None = None
    reconstruction_params: ReconstructionParams | None = None
    animate_params: AnimateParams | None = None
    visualizer_params: VisualizerParams | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, numbers and texts, with defaults, for ``config_from_dict`` to read."""
        return plain(self)


def config_from_dict(data: Mapping[str, Any], where: str = "configuration") -> Config:
    """Return a ``Config`` from nested dicts; ``where`` names their origin in errors. Raises ConfigError."""
    config = parse(Config, data, where)
    channels = config.dataset_params.frame_shape[2]
    expected = config.model_params.common_params.num_channels
    if channels != expected:
        raise ConfigError(
            f"{where}: dataset_params.frame_shape has {channels} channels, "
            f"but model_params.common_params.num_channels is {expected}; make them equal"
        )
    count = config.model_params.common_params.num_kp
    if config.model_params.kp_detector_params.openings and count != len(LABELS):
        raise ConfigError(
            f"{where}: model_params.kp_detector_params.openings is for the {len(LABELS)} key points of drawn "
            f"heads, but model_params.common_params.num_kp is {count}; leave openings out"
        )
    return config


def load_config(path_or_name: str | os.PathLike[str]) -> Config:
    """Read the configuration in a YAML file, or the one that ships under a name, as ``"vox-256"``.

    Raises ConfigError.
    """
    path = find_config(path_or_name)
    return config_from_dict(read_yaml(path), str(path))


def find_config(path_or_name: str | os.PathLike[str]) -> Path:
    """Return the path of a configuration: the file itself, else the one that ships under that name.

    ``"vox-256"`` is a name. So is ``config/vox-256.yaml``, as old scripts have it, where no such file exists.
    Raises ConfigError where there is neither.
    """
    path = Path(path_or_name)
    if path.is_file():
        return path
    bare = path.parent == Path()
    if bare or path.parent.name in ("config", "configs"):
        name = path.stem if path.suffix in (".yaml", ".yml") else path.name
        if name in config_names():
            return bundled("configs", f"{name}.yaml")
    what = "is a folder, not a configuration" if path.is_dir() else "does not exist"
    raise ConfigError(f"{path} {what}; give a YAML file or one of the names {', '.join(config_names())}")


def config_names() -> list[str]:
    """Return the names of the configurations that ship, sorted."""
    return sorted(path.stem for path in bundled("configs").glob("*.yaml"))
