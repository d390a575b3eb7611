"""What keeps a GPU busy. Most of it can be checked without one; tests marked gpu need it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import ROOT
from golden_data import EXPECTED, assert_near, tiny_networks
from lively import small_networks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from training_case import training_config, write_clips

from fomm.animation.animate import animate_file, make_animation
from fomm.animation.animator import Animator
from fomm.animation.frames import to_batch, to_bytes, to_tensor, to_uint8
from fomm.animation.options import Compute, Framing, Marking
from fomm.checkpoint import load_checkpoints
from fomm.config import LossWeights, load_config
from fomm.engines.gpu import default_batch, start_next_first
from fomm.engines.inference import InferenceNetworks
from fomm.engines.recording import RecordedFunction, RecordedNetworks
from fomm.heads.dataset import make_dataset
from fomm.media import VideoReader, save_video, write_image
from fomm.training.dataset import Batch, open_pairs
from fomm.training.distributed import Processes
from fomm.training.loop import train
from fomm.training.state import Run, start_from
from fomm.training.step import Step, draw_transform

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


# -- batches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gigabytes", "size", "frames"),
    [
        (80, (256, 256), 32),
        (80, (512, 512), 8),
        (80, (256, 512), 16),
        (2, (256, 256), 4),
        (0.1, (512, 512), 1),
    ],
)
def test_batches_are_sized_to_the_device(monkeypatch, gigabytes, size, frames):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(gigabytes * 1e9 * 0.95), 0))
    assert default_batch(CUDA, size) == frames
    assert default_batch(CPU, size) == 4


def test_pictures_of_a_batch_may_differ():
    random = np.random.default_rng(0)
    alike = [random.integers(0, 256, (48, 40, 3), np.uint8) for _ in range(3)]
    other = random.random((32, 32, 3), np.float32)
    for pictures in (alike, [*alike, other], [other]):
        batch = to_batch(pictures, (32, 32), CPU)
        assert torch.equal(batch, torch.cat([to_tensor(picture, (32, 32), CPU) for picture in pictures]))


def test_bytes_are_rounded_alike_on_the_device_and_after_it():
    values = torch.linspace(-0.1, 1.1, 3 * 64 * 64).view(1, 3, 64, 64)
    wanted = np.stack([to_uint8(picture) for picture in values.permute(0, 2, 3, 1).numpy()])
    assert (to_bytes(values) == wanted).all()


def test_the_next_is_begun_before_one_is_given():
    log = []

    def begin(count: int, fail: bool):
        for number in range(count):
            log.append(f"begin {number}")
            yield number
        if fail:
            raise OSError("no more")

    for number in start_next_first(begin(3, False)):
        log.append(f"take {number}")
    assert log == ["begin 0", "begin 1", "take 0", "begin 2", "take 1", "take 2"]
    assert list(start_next_first(begin(0, False))) == []
    failing = start_next_first(begin(2, True))
    assert [next(failing), next(failing)] == [0, 1]
    with pytest.raises(OSError, match="no more"):
        next(failing)


class NumbersRead(TorchFunctionMode):
    """Counts how often Python reads numbers of a tensor, for which a GPU has to finish all its work."""

    READING = (torch.Tensor.tolist, torch.Tensor.item, torch.Tensor.__float__, torch.Tensor.__bool__)

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += function in self.READING
        return function(*args, **(kwargs or {}))


def test_no_numbers_are_read_for_later_frames(tiny):
    """The scale of the movement needs some, once: with every batch a GPU would have to stop for them."""
    counts = []
    for frames in (1, 4):
        with NumbersRead() as reads:
            driving = EXPECTED["driving"][:frames]
            make_animation(EXPECTED["source"], driving, *tiny, batch_size=1, progress=False)
        counts.append(reads.count)
    assert counts[0] == counts[1] >= 2


# -- recorded passes ---------------------------------------------------------------------------------


class Tape:
    """Stands in for ``CudaGraphRecorder``: inputs and results have one place each, as of a graph."""

    def __init__(self) -> None:
        self.recorded, self.replayed = [], 0

    def __call__(self, function, inputs):
        places = [tensor.clone() for tensor in inputs]
        results = [result.clone() for result in function(*places)]
        self.recorded.append([tuple(tensor.shape) for tensor in inputs])

        def replay(*inputs):
            self.replayed += 1
            for place, tensor in zip(places, inputs, strict=True):
                place.copy_(tensor)
            for result, new in zip(results, function(*places), strict=True):
                result.copy_(new)
            return [result.clone() for result in results]

        return replay


def test_what_comes_again_is_recorded():
    tape = Tape()
    doubled = RecordedFunction(lambda t: [2 * t], tape)
    for count in (4, 4, 4, 3):
        values = torch.rand(count)
        assert torch.equal(doubled(values)[0], 2 * values)
    assert (tape.recorded, tape.replayed) == ([[(4,)]], 2)


def test_records_have_an_end():
    """Each holds on to memory: callers with ever new sizes get no more of them."""
    tape = Tape()
    doubled = RecordedFunction(lambda t: [2 * t], tape)
    for count in range(1, 20):
        for _ in range(2):
            assert torch.equal(doubled(torch.ones(count))[0], torch.full((count,), 2.0))
    assert len(tape.recorded) == 8


def test_without_a_record_it_goes_on():
    def fail(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    doubled = RecordedFunction(lambda t: [2 * t], fail)
    doubled(torch.ones(2))
    with pytest.warns(UserWarning, match="going on without a CUDA graph: operation not permitted"):
        assert doubled(torch.ones(2))[0].tolist() == [2, 2]
    assert doubled(torch.ones(2))[0].tolist() == [2, 2]  # and says it once


@torch.inference_mode()
@pytest.mark.parametrize("options", [{}, {"estimate_jacobian": False}, {"details": 0.5}], ids=str)
def test_recorded_networks_give_the_same(options):
    networks = InferenceNetworks(*small_networks(**options))
    tape = Tape()
    recorded = RecordedNetworks(networks, tape)
    random = torch.Generator().manual_seed(0)
    for count in (2, 2, 2, 1):
        source, frames = (torch.rand(n, 3, 64, 64, generator=random) for n in (1, count))
        wanted = networks.render(networks.encode(source), networks.detect(frames))
        result = recorded.render(recorded.encode(source), recorded.detect(frames))
        for one, other in zip(result, wanted, strict=True):
            assert (one is None and other is None) or torch.equal(one, other)
    assert tape.replayed == 4  # both passes, the second and the third time
    recorded.forget()
    recorded.detect(frames)
    assert tape.replayed == 4


@torch.inference_mode()
def test_recorded_networks_take_points_without_jacobians():
    """As a reference that was made by hand has them."""
    networks = InferenceNetworks(*small_networks())
    recorded = RecordedNetworks(networks, Tape())
    source, frames = torch.rand(1, 3, 64, 64), torch.rand(2, 3, 64, 64)
    points = networks.detect(frames)._replace(jacobian=None)
    wanted = networks.render(networks.encode(source), points)
    assert torch.equal(recorded.render(recorded.encode(source), points).prediction, wanted.prediction)


class _OneDevice(TorchDispatchMode):
    """Notes operations that touch any other device than "meta", which holds no numbers at all."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.others = 0, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        self.count += 1
        if any(tensor.device.type != "meta" for tensor in tensors):
            self.others.append(str(function))
        return result


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("processor", ["AVX2", "AVX512"])
def test_a_pass_stays_on_its_device(monkeypatch, processor, dtype):
    """Nothing is copied from the CPU and no number is read: else it could not be recorded."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    networks = InferenceNetworks(*load_checkpoints(cpu=True), dtype).to("meta")
    source = networks.encode(torch.rand(1, 3, 256, 256, device="meta"))
    with _OneDevice() as watch:
        kp = networks.detect(torch.rand(4, 3, 256, 256, device="meta"))
        assert networks.render(source, kp).prediction.shape == (4, 3, 256, 256)
    assert watch.count > 100
    assert not watch.others


# -- training ----------------------------------------------------------------------------------------


class _PaddedAverages(TorchDispatchMode):
    """Notes the inputs of every ``avg_pool2d`` with padding through which a gradient comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.avg_pool2d_backward.default:
            _, pooled, _, _, padding = args[:5]
            self.inputs += [pooled] if any(padding) else []
        return function(*args, **(kwargs or {}))


def test_no_gradient_passes_a_padded_average_of_channels_last_pictures(tmp_path):
    """Before PyTorch's fix, CUDA computes a wrong one there."""
    config = training_config(loss_weights={"contrast": 1, "source_details": 1})
    clips = write_clips(tmp_path / "data")
    with _PaddedAverages() as watch:
        list(train(config, clips, tmp_path / "run", device="cpu", max_steps=1))
    assert len(watch.inputs) == 5  # two of each picture's details, and the mean power of the painted ones
    layouts = [(pooled.shape, pooled.stride()) for pooled in watch.inputs]
    assert not any(len(shape) == 4 and stride[1] == 1 for shape, stride in layouts), layouts


# -- on a GPU ----------------------------------------------------------------------------------------


@pytest.fixture
def on_gpu(tiny, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    networks = tuple(network.eval().cuda() for network in tiny_networks(True)[:2])
    return tiny, networks


@pytest.mark.gpu
@pytest.mark.filterwarnings("error:going on without a CUDA graph")
@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_a_gpu_paints_what_the_cpu_paints(on_gpu, batch_size):
    driving = np.concatenate([EXPECTED["driving"]] * 5)
    wanted, got = (
        make_animation(EXPECTED["source"], driving, *networks, batch_size=batch_size, progress=False)
        for networks in on_gpu
    )
    assert_near(np.stack(got), np.stack(wanted), 1e-4, f"batches of {batch_size}")


@pytest.mark.gpu
@pytest.mark.parametrize("paste_back", [True, False])
def test_a_gpu_writes_what_the_cpu_writes(on_gpu, tmp_path, paste_back):
    write_image(tmp_path / "photo.png", to_uint8(EXPECTED["source"]))
    frames = [to_uint8(frame) for frame in EXPECTED["driving"]] * 10
    save_video(tmp_path / "driving.mp4", frames, 25)
    results = []
    for name, networks in zip(("cpu", "cuda"), on_gpu, strict=True):
        result = tmp_path / name / ""
        animate_file(
            tmp_path / "photo.png", tmp_path / "driving.mp4", f"{result}/", *networks,
            framing=Framing(crop="none", paste_back=paste_back), marking=Marking(mark=False),
            compute=Compute(precision="float32", batch_size=4), progress=False,
        )  # fmt: skip
        with VideoReader(result) as reader:
            results.append(np.stack(list(reader)))
    assert_near(results[1], results[0], 1, "a frame of the GPU's")


@pytest.mark.gpu
@pytest.mark.filterwarnings("error:going on without a CUDA graph")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_precisions_on_a_gpu(precision):
    generator, kp_detector = load_checkpoints(device="cuda")
    frames = [
        np.full((256, 256, 3), 0.4, np.float32),
        *np.random.default_rng(0).random((9, 256, 256, 3), "f4"),
    ]
    animator = Animator(frames[0], generator, kp_detector, compute=Compute(precision=precision, batch_size=3))
    got = np.stack(list(animator.animate(frames)))
    wanted = np.stack(make_animation(frames[0], frames, generator.cpu(), kp_detector.cpu(), progress=False))
    assert -10 * np.log10(np.square(got - wanted).mean()) > 40


ALL_LOSSES = {  # what ``heads-256`` does not weight
    "generator_gan": 1,
    "discriminator_gan": 1,
    "feature_matching": (10, 10, 10, 10),
    "equivariance_value": 10,
    "equivariance_jacobian": 10,
    "source_details": 500,
}


@contextmanager
def real_training(
    heads: Path, device: str, precision: str, *, pairs: int = 2, bicubic: bool = True, **weights
) -> Iterator[tuple[Run, Step, Batch]]:
    """Return the weights that ship, norms frozen, and the pairs to train on, the same on every device.

    ``weights`` are those of losses, as far as they differ from ``heads-256``.
    """
    config = load_config("heads-256")
    assert config.train_params is not None
    params = replace(config.train_params, batch_size=pairs, transfer=0.0, warmup_steps=0, freeze_norm=True)
    params = replace(params, loss_weights=replace(params.loss_weights, **weights))
    generator = replace(config.model_params.generator_params, bicubic=bicubic)
    model = replace(config.model_params, generator_params=generator)
    config = replace(config, train_params=params, model_params=model)
    torch.manual_seed(0)  # of the discriminator
    with Processes(device) as processes:
        run = Run(config, params, processes)
        start_from(run, ROOT / "checkpoints" / "heads-256.safetensors", warn=False)
        data = open_pairs(
            heads / "train", config.dataset_params, pairs, 0, in_memory=True, device=processes.device,
            with_truth=True, with_flow=True,
        )  # fmt: skip
        yield run, Step(config, run, processes, None, precision, False), data.get_batch(0)


def real_steps(heads: Path, device: str, precision: str, count: int, bicubic: bool = True):
    """Return the sum of the losses before each step, and for each network the last gradients by weight."""
    with real_training(heads, device, precision, bicubic=bicubic) as (run, step, batch):
        losses = [float(sum(step(batch, torch.Generator().manual_seed(0))[0].values())) for _ in range(count)]
        return losses, {
            name: {
                weight: tensor.grad.flatten().cpu()
                for weight, tensor in run.parts[name].named_parameters()
                if tensor.grad is not None
            }
            for name in ("generator", "kp_detector")
        }


def gradients_by_loss(heads: Path, device: str) -> dict[tuple[str, str], dict[str, torch.Tensor]]:
    """Return the gradient of every loss by itself, for each network that it depends on, in float32."""
    with real_training(heads, device, "float32", pairs=1, **ALL_LOSSES) as (run, step, batch):
        transform = draw_transform(step.config, batch, torch.Generator().manual_seed(0))
        losses, output = step.generator(batch, transform, None, None)
        losses |= step.discriminator(output)
        found = {}
        for loss, value in losses.items():
            for name, network in run.parts.items():
                weights = dict(network.named_parameters())
                slopes = torch.autograd.grad(
                    value, list(weights.values()), retain_graph=True, allow_unused=True
                )
                by_weight = zip(weights, slopes, strict=True)
                known = {weight: slope.flatten().cpu() for weight, slope in by_weight if slope is not None}
                if known:
                    found[loss, name] = known
        return found


def assert_alike(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], least: float, what) -> None:
    """Check that the cosine between two gradients, each given by weight, is above ``least``."""
    assert found.keys() == wanted.keys(), what
    alike = {weight: torch.cosine_similarity(found[weight], wanted[weight], dim=0).item() for weight in found}
    whole = (torch.cat([side[weight] for weight in found]) for side in (found, wanted))
    together = torch.cosine_similarity(*whole, dim=0).item()
    worst = sorted(alike.items(), key=lambda item: item[1])[:8]  # says where to look
    assert together > least, f"{what}: {together:.4f}, least {worst}"


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    make_dataset(folder, people=2, frames=4, size=256, test_fraction=0, progress=False)
    return folder


@pytest.mark.gpu
def test_a_gpu_finds_the_gradient_of_every_loss_by_itself(heads, monkeypatch):
    """In the sum of all, one that is wrong may hide behind the others."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    wanted, found = (gradients_by_loss(heads, device) for device in ("cpu", "cuda"))
    known = {field.name for field in fields(LossWeights)} - {"keypoint_shares", "motion_keypoints"}
    assert {loss for loss, _ in wanted} == known  # but for the two that only weigh others
    assert found.keys() == wanted.keys()
    for what, gradient in wanted.items():
        assert_alike(found[what], gradient, 0.999, what)


@pytest.mark.gpu
@pytest.mark.parametrize("bicubic", [False, True])
def test_a_gpu_finds_the_gradients_of_the_cpu(heads, monkeypatch, bicubic):
    """Those of a whole step, at least so alike, as the cosine between them."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    wanted_losses, wanted = real_steps(heads, "cpu", "float32", count=1, bicubic=bicubic)
    for precision, least in (("float32", 0.999), ("bfloat16", 0.8)):
        losses, found = real_steps(heads, "cuda", precision, count=1, bicubic=bicubic)
        assert losses == pytest.approx(wanted_losses, rel=0.02), precision
        for network, gradients in found.items():
            assert_alike(gradients, wanted[network], least, (precision, network))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_learns(heads, precision):
    losses, _ = real_steps(heads, "cuda", precision, count=40)
    assert losses[-1] < 0.7 * losses[0], losses  # 0.55 on a CPU in float32
