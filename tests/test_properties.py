"""What holds for all files and arrays, tried on some that hypothesis makes up: the same ones on every run."""

import functools
import io
import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import hostile
import numpy as np
import pytest
import torch
from doors import check_sentence, knock_with_checkpoint, knock_with_image, knock_with_video
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fomm.animation.frames import check_picture
from fomm.checkpoint import read_checkpoint
from fomm.checkpoint.pickle_scan import scan_pickle
from fomm.config import config_from_dict, load_config
from fomm.errors import ConfigError, InputError, shown
from fomm.media import VideoReader, read_image, save_video, write_image

settings.register_profile("ours", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("ours")
slow_each = settings(max_examples=15)  # what starts ffmpeg several times

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
KINDS = ("zip", "legacy", "safetensors")


def in_new_folder(check: Callable[..., object]) -> Callable[..., None]:
    """Give ``check`` an empty folder for each example."""

    @functools.wraps(check)
    def wrapped(**arguments: object) -> None:
        with tempfile.TemporaryDirectory() as folder:
            check(folder=Path(folder), **arguments)

    del wrapped.__wrapped__  # hypothesis would ask for the folder
    return wrapped


@functools.cache
def whole_checkpoint(kind: str) -> bytes:
    return hostile.smallest_checkpoint(kind)


@functools.cache
def whole_picture(kind: str) -> bytes:
    return hostile.picture_file(kind)


@functools.cache
def whole_video(suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return hostile.video_file(Path(folder), f"whole.{suffix}")


@st.composite
def damaged(draw: st.DrawFn, whole: Callable[[str], bytes], kinds: tuple[str, ...]) -> bytes:
    """Damage a good file: change bytes, take some out, put some in, or repeat some."""
    data = bytearray(whole(draw(st.sampled_from(kinds))))
    for _ in range(draw(st.integers(1, 6))):
        # most structure is at the front and at the end
        near = st.one_of(st.integers(0, len(data)), st.integers(0, 100), st.integers(-100, 0))
        at = draw(near) % (len(data) + 1)
        match draw(st.sampled_from(["change", "take out", "put in", "twice", "cut"])):
            case "change":
                new = draw(st.binary(min_size=1, max_size=8))
                data[at : at + len(new)] = new
            case "take out":
                del data[at : at + draw(st.integers(1, 1000))]
            case "put in":
                data[at:at] = draw(st.binary(max_size=64))
            case "twice":
                data[at:at] = data[at : at + draw(st.integers(1, 1000))]
            case "cut":
                del data[at:]
    return bytes(data)


MAGIC = [
    hostile.LEGACY_HEAD,
    b"PK\x03\x04",
    b"\x80\x02}",
    (b"\x20" + bytes(7) + b"{"),
    b"<",
    b"version https://git-lfs",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"RIFF\x20\0\0\0WEBPVP8 ",
    b"BM",
    b"II*\0",
    b"\0\0\0\x18ftypisom",
    b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    b"\x1aE\xdf\xa3",
    b"YUV4MPEG2 W8 H8 F25:1\n",
    b"",
]
anything = st.builds(bytes.__add__, st.sampled_from(MAGIC), st.binary(max_size=300))


# -- checkpoints -------------------------------------------------------------------------------------


@given(content=anything)
@in_new_folder
def test_bytes_are_no_weights(content, folder):
    assert knock_with_checkpoint(content, folder)


@given(content=damaged(whole_checkpoint, KINDS))
@in_new_folder
def test_damaged_weights_are_refused_or_whole(content, folder):
    knock_with_checkpoint(content, folder)


# Pickle's instructions, some with their arguments, and the names that a checkpoint's pickle asks for.
OPCODES = [bytes([code]) for code in b"(.012NRQabdelostu}])\x81\x85\x86\x87\x88\x89\x92\x93\x94"]
OPCODES += [b"h\0", b"q\0", b"K\1", b"K\0", b"M\1\1", b"J\xff\xff\xff\xff", b"G" + bytes(8)]
OPCODES += [b"\x8a\1\x7f", b"\x8a\xff" + b"\x7f" * 255, b"U\2f8"]
OPCODES += [
    b"X" + len(text).to_bytes(4, "little") + text for text in (b"0", b"storage", b"cpu", b"generator", b"<")
]
OPCODES += [
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch\nFloatStorage\n",
    b"ccollections\nOrderedDict\n",
    b"ccollections\nCounter\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\nscalar\n",
    b"c_codecs\nencode\n",
    b"c__builtin__\nbytearray\n",
    b"cos\nsystem\n",
]


@given(
    codes=st.lists(st.sampled_from(OPCODES), max_size=40), place=st.sampled_from(["zip", "legacy", "list"])
)
@settings(max_examples=300)
@in_new_folder
def test_whatever_a_pickle_does_is_refused(codes, place, folder):
    """None of them can describe a whole network, so each has to end in the one error."""
    program = b"\x80\x02" + b"".join(codes) + b"."
    storages = {"0": bytes(64)}
    if place == "list":
        content = hostile.legacy_file(pickle.dumps({}, 2), storages, keys=program)
    else:
        content = hostile.checkpoint_file(program, place == "legacy", storages)
    assert knock_with_checkpoint(content, folder)


number = st.one_of(st.integers(-(2**63), 2**64), st.floats(allow_nan=False), st.booleans(), st.none())
plain = st.recursive(
    st.one_of(number, st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers(-99, 99)), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(value=plain)
def test_the_scan_reads_plain_data_as_pickle_does(value):
    data = pickle.dumps(value, 2)
    assert scan_pickle(io.BytesIO(data), "it").value == pickle.loads(data)


types = st.sampled_from(["F32", "F16", "F64", "BOOL", "F8_E4M3", "F4", "C64", "I8"])
entry = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.one_of(types, st.text()),
        "shape": st.lists(st.integers(-1, 2**63), max_size=3) | plain,
        "data_offsets": st.lists(st.integers(-1, 64), min_size=2, max_size=2) | plain,
    },
)
names = st.sampled_from(["generator.a", "kp_detector.kp.weight", "__metadata__", "module.x"]) | st.text()


@given(header=st.dictionaries(names, entry | plain, max_size=4))
@in_new_folder
def test_whatever_a_header_says_is_refused(header, folder):
    assert knock_with_checkpoint(hostile.safetensors_file(json.dumps(header).encode(), bytes(64)), folder)


@given(data=st.data(), kind=st.sampled_from(KINDS), seed=st.integers(0, 99))
@settings(max_examples=40)
@in_new_folder
def test_good_weights_come_back(data, kind, seed, folder):
    """In every format and precision, contiguous or not, whatever else is beside them."""
    parts = hostile.smallest_tensors()
    random = torch.Generator().manual_seed(seed)
    for part in parts.values():
        for name, tensor in part.items():
            if tensor.is_floating_point():
                part[name] = torch.randn(tensor.shape, generator=random)
    precision = data.draw(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
    changed = data.draw(st.sampled_from(sorted(parts["generator"])))
    if parts["generator"][changed].is_floating_point():
        parts["generator"][changed] = parts["generator"][changed].to(precision)
    path = folder / "weights.pth.tar"
    if kind == "safetensors":
        path.write_bytes(hostile.flat_safetensors(parts))
    else:
        parts["generator"][changed] = (
            parts["generator"][changed].mT.contiguous().mT
            if parts["generator"][changed].ndim >= 2
            else parts["generator"][changed]
        )
        beside = data.draw(st.dictionaries(st.text(max_size=5), number, max_size=3))
        torch.save({**beside, **parts}, path, _use_new_zipfile_serialization=kind == "zip")
    got = read_checkpoint(path).tensors
    assert set(got) == {f"{part}.{name}" for part, state in parts.items() for name in state}
    for part, state in parts.items():
        for name, tensor in state.items():
            assert got[f"{part}.{name}"].dtype == tensor.dtype
            assert torch.equal(got[f"{part}.{name}"], tensor)


# -- pictures and videos -----------------------------------------------------------------------------


@given(content=anything)
@in_new_folder
def test_bytes_are_no_pictures(content, folder):
    knock_with_image(content, folder)


@given(content=damaged(whole_picture, FORMATS))
@settings(max_examples=200)
@in_new_folder
def test_damaged_pictures_are_refused_or_read(content, folder):
    knock_with_image(content, folder)


@given(content=anything)
@slow_each
@in_new_folder
def test_bytes_are_no_videos(content, folder):
    knock_with_video(content, folder)


@given(content=damaged(whole_video, ("mp4", "webm", "gif", "avi", "ts")))
@slow_each
@in_new_folder
def test_damaged_videos_are_refused_or_read(content, folder):
    knock_with_video(content, folder)


pixels = arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@given(picture=pixels, turned=st.booleans())
@in_new_folder
def test_pictures_come_back(picture, turned, folder):
    picture = picture[::-1, ::-1] if turned else picture
    write_image(folder / "a.png", picture)
    assert np.array_equal(read_image(folder / "a.png"), picture)


@given(frame=pixels, count=st.integers(1, 12), fps=st.sampled_from([1, 12.5, 23.976, 25, 29.97, 60]))
@settings(max_examples=25)
@in_new_folder
def test_folders_of_frames_come_back(frame, count, fps, folder):
    frames = [np.roll(frame, number, axis=1) for number in range(count)]
    save_video(folder / "frames", frames, fps)
    with VideoReader(folder / "frames") as reader:
        assert reader.fps == pytest.approx(fps, rel=1e-4)
        assert reader.num_frames == count
        assert np.array_equal(np.stack(list(reader)), np.stack(frames))


# -- arrays, configurations, sentences ---------------------------------------------------------------


@given(
    picture=arrays.arrays(
        st.one_of(arrays.scalar_dtypes(), st.just(np.dtype(object))),
        st.one_of(
            arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
            st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3)),
        ),
    )
)
@settings(max_examples=150)
def test_an_array_is_a_picture_or_an_error(picture):
    got, said = None, ""
    try:
        got = check_picture(picture, "it")
    except InputError as error:
        said = str(error)
    if got is None:
        assert said.startswith("it ")
        assert said.isprintable()
        assert len(said) < 300
    else:
        assert got.dtype in (np.uint8, np.float32)
        assert got.ndim == 3
        assert got.shape[2] == 3
        assert got.size
        most = 255 if got.dtype == np.uint8 else 1.01
        assert np.isfinite(got).all()
        assert got.min() >= -0.01
        assert got.max() <= most


@given(
    text=st.one_of(
        st.text(max_size=200),
        st.text(alphabet=":-{}[]&*!|>%@`\"'#?, \n\tabc01.xe~<=", max_size=200),
        plain.map(lambda value: json.dumps({"model_params": value})),
    )
)
@in_new_folder
def test_a_text_is_no_configuration(text, folder):
    path = folder / "a.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    check_sentence(caught.value, ConfigError, path)


@given(value=plain, place=st.sampled_from(["num_kp", "num_channels", "estimate_jacobian", "", "zebra"]))
def test_a_setting_is_taken_or_named(value, place):
    data = hostile.smallest_config().to_dict()
    if place:
        data["model_params"]["common_params"][place] = value
    else:
        data["model_params"] = value
    try:
        config = config_from_dict(data, "mine.yaml")
    except ConfigError as error:
        said = str(error)
        assert said.startswith("mine.yaml: ")
        assert said.isprintable()
        assert len(said) < 400
    else:
        assert config.to_dict()["model_params"]["common_params"][place] == value


@given(text=st.one_of(st.text(), st.binary(), st.integers(), plain), longest=st.integers(3, 200))
def test_what_is_shown_is_one_printable_line(text, longest):
    line = shown(text, longest)
    assert line.isprintable()
    assert len(line) <= longest
