"""Motion templates that mean harm, are broken or hold something else: refused with one sentence."""

import pickle
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save

from fomm import InputError
from fomm.animation.options import Excerpt
from fomm.animation.template import SUFFIX, find_template, read_template
from fomm.bundled import bundled
from fomm.cli import main

FRAMES = 5
METADATA = {"fomm_motion": "1", "fps": "25", "gaps": ""}


def tensors(**changed) -> dict[str, torch.Tensor]:
    shapes = {"turn": (3,), "place": (2,), "size": (), "shape": (15, 3), "lips": (), "lids": (2,)}
    good = {name: torch.zeros(FRAMES, *rest) for name, rest in shapes.items()}
    good["size"] += 1
    return {name: value for name, value in (good | changed).items() if value is not None}


def written(metadata=None, **changed) -> bytes:
    return save(tensors(**changed), METADATA | (metadata or {}))


def without(key: str) -> bytes:
    return save(tensors(), {name: value for name, value in METADATA.items() if name != key})


class Harm:
    def __reduce__(self):
        return (open, ("/tmp/harm", "w"))


GOOD = written()
CASES = {
    "empty": (b"", "no motion template"),
    "a text": (b"hello, this is no template", "no motion template"),
    "a pickle": (pickle.dumps(Harm()), "no motion template"),
    "a picture": (bundled("examples", "astronaut.png").read_bytes(), "no motion template"),
    "cut short": (GOOD[:-10], "no motion template"),
    "half a header": (GOOD[:60], "no motion template"),
    "a header of 2**60 bytes": (struct.pack("<Q", 1 << 60) + GOOD[8:], "no motion template"),
    "more behind its end": (GOOD + b"x" * 9, "no motion template"),
    "weights": (save({"weight": torch.zeros(3)}), "is no motion template"),
    "another version": (written({"fomm_motion": "2"}), "has version 2 of the format"),
    "no version": (without("fomm_motion"), "is no motion template"),
    "no rate": (without("fps"), "expected frames a second"),
    "a rate of nan": (written({"fps": "nan"}), "fps is nan"),
    "a rate of 0": (written({"fps": "0"}), "fps is 0"),
    "a rate of 1e9": (written({"fps": "1000000000"}), "fps is 1000000000"),
    "gaps in words": (written({"gaps": "all"}), "gaps are all"),
    "gaps beyond the end": (written({"gaps": "2-9"}), "do not lie in its 5 frames"),
    "gaps backwards": (written({"gaps": "4-2"}), "do not lie in"),
    "gaps that overlap": (written({"gaps": "0-3,2-4"}), "do not lie in"),
    "never a face": (written({"gaps": "0-5"}), "do not lie in"),
    "no lips": (written(lips=None), "expected a tensor lips of T numbers"),
    "no frames": (save({n: t[:0] for n, t in tensors().items()}, METADATA), "different numbers of frames"),
    "frames that differ": (written(size=torch.ones(FRAMES + 1)), "different numbers of frames"),
    "478 points": (written(shape=torch.zeros(FRAMES, 478, 3)), "expected a tensor shape of Tx15x3"),
    "whole numbers": (written(lips=torch.zeros(FRAMES, dtype=torch.int64)), "no floating-point numbers"),
    "nan": (written(turn=torch.full((FRAMES, 3), torch.nan)), "turn holds numbers that are not finite"),
    "infinity": (written(place=torch.full((FRAMES, 2), torch.inf)), "place holds numbers"),
    "huge": (written(shape=torch.full((FRAMES, 15, 3), 1e6)), "shape holds numbers"),
    "a head without a size": (written(size=torch.zeros(FRAMES)), "a head has no size"),
    "a head inside out": (written(size=-torch.ones(FRAMES)), "a head has no size"),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(tmp_path, name):
    content, words = CASES[name]
    file = tmp_path / f"bad{SUFFIX}"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_template(file)
    sentence = str(caught.value)
    assert words in sentence and str(file) in sentence and sentence.isprintable() and len(sentence) < 400
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.smoke
def test_what_is_no_file_is_said(tmp_path):
    read_template(bundled("examples", f"nod{SUFFIX}"))
    for path, words in ((tmp_path, "is a folder"), (tmp_path / f"none{SUFFIX}", "does not exist")):
        with pytest.raises(InputError, match=words):
            read_template(path)
    with pytest.raises(InputError, match=r"there is no motion wave; give a file NAME.motion.safetensors, or"):
        find_template("wave")
    with pytest.raises(InputError, match=r"has 2.6 seconds; nothing is left of it from 9 seconds on"):
        read_template(bundled("examples", f"nod{SUFFIX}"), Excerpt(start=9.0))


def test_the_command_writes_nothing_of_a_bad_template(tmp_path, capsys):
    file = tmp_path / f"bad{SUFFIX}"
    file.write_bytes(CASES["nan"][0])
    photo = str(bundled("examples", "astronaut.png"))
    for words, message in (
        (["animate", photo, str(file), "-o", str(tmp_path / "a.mp4")], "not finite"),
        (["motion", str(file), "--describe", str(tmp_path / "a.csv")], "not finite"),
        (["motion", photo, "-o", str(tmp_path / "a.safetensors")], "ends with .motion.safetensors"),
        (["motion", str(file), "--describe", str(tmp_path / "a.xls")], "the suffix must be .csv or .html"),
        (["motion", str(file), "-o", str(file)], "is the driving file itself"),
        (["motion", str(file)], "nothing is asked for"),
        (["animate", photo, str(file), "--motion", "nod", "-o", str(tmp_path / "a.mp4")], "give one of them"),
        (["animate", photo, "--motion", "wave", "-o", str(tmp_path / "a.mp4")], "there is no motion wave"),
        (["animate", photo, "--motion", "nod", "--side-by-side", "-o", str(tmp_path / "a.mp4")],
         "leave side_by_side out"),
        (["animate", photo, "--motion", "nod", "--driver", "keypoints", "-o", str(tmp_path / "a.mp4")],
         "does not go with the driver"),
    ):  # fmt: skip
        try:
            status = main(words)
        except SystemExit as stop:
            status = stop.code
        assert status != 0 and message in capsys.readouterr().err, words
        assert list(tmp_path.iterdir()) == [file], words
    assert np.isfinite(read_template(find_template("nod")).motion.shape).all()
