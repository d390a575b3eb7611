"""What keeps a GPU busy. Most of it can be checked without one; tests marked gpu need it."""

import numpy as np
import pytest
import torch
from golden_data import GOLDEN, assert_near, tiny_networks
from lively import small_networks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fomm.animation.animate import animate_file, make_animation
from fomm.animation.animator import Animator
from fomm.animation.frames import to_batch, to_bytes, to_tensor, to_uint8
from fomm.checkpoint import load_checkpoints
from fomm.engines.gpu import default_batch, start_next_first
from fomm.engines.inference import InferenceNetworks
from fomm.engines.recording import RecordedFunction, RecordedNetworks
from fomm.media import VideoReader, save_video, write_image

EXPECTED = np.load(GOLDEN / "tiny-expected.npz")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def tiny():
    return tuple(network.eval() for network in tiny_networks(True)[:2])


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
            paste_back=paste_back, batch_size=4, progress=False,
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
    animator = Animator(frames[0], generator, kp_detector, precision=precision, batch_size=3)
    got = np.stack(list(animator.animate(frames)))
    wanted = np.stack(make_animation(frames[0], frames, generator.cpu(), kp_detector.cpu(), progress=False))
    assert -10 * np.log10(np.square(got - wanted).mean()) > 40
