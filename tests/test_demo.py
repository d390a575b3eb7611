"""The published demo: its flags, its imports, and the script that thousands of notebooks hold."""

import sys

import imageio
import numpy as np
import pytest
from golden_data import TINY_FILES, TINY_OPTIONS
from skimage import img_as_ubyte
from skimage.transform import resize

from fomm.bundled import bundled
from fomm.marks import Origin
from fomm.media import VideoReader, save_video, write_image


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.syspath_prepend(str(bundled("examples")))
    import demo

    yield demo
    del sys.modules["demo"]


def test_the_published_flags_and_defaults(demo):
    options = demo.parse(["--config", "vox-256"])
    assert vars(options) == {
        "config": "vox-256",
        "checkpoint": "vox-cpk.pth.tar",
        "source_image": "sup-mat/source.png",
        "driving_video": "sup-mat/source.png",
        "result_video": "result.mp4",
        "relative": False,
        "adapt_scale": False,
        "best_frame": None,
        "find_best_frame": False,
        "cpu": False,
        "audio": False,
        "crop": "auto",  # the one that fomm adds
    }
    with pytest.raises(SystemExit):
        demo.parse([])


def test_the_best_frame_is_found(demo, tmp_path, portraits, monkeypatch):
    """The driving clip begins with another head: the motion starts at the photo's own."""
    monkeypatch.setattr(
        Origin, "of", lambda weights_hash: Origin(number="00000000")
    )  # the same in all results
    face, other = portraits
    write_image(tmp_path / "photo.png", face)
    save_video(tmp_path / "driving.mp4", [other, other, face, other], fps=10)
    results = []
    for number, flags in enumerate((["--find_best_frame"], ["--best_frame", "2"], ["--best_frame", "0"])):
        result = tmp_path / f"{number}.mp4"
        arguments = [
            *TINY_OPTIONS,
            "--source_image", str(tmp_path / "photo.png"), "--driving_video", str(tmp_path / "driving.mp4"),
            "--result_video", str(result), "--relative", "--cpu", *flags,
        ]  # fmt: skip
        assert demo.main(arguments) == 0
        with VideoReader(result) as reader:
            results.append(np.stack(list(reader)))
    assert np.array_equal(results[0], results[1]) and not np.array_equal(results[0], results[2])


def test_the_demo_animates(demo, files, capsys):
    arguments = [
        *TINY_OPTIONS,
        "--source_image", str(files / "photo.png"), "--driving_video", str(files / "driving.mp4"),
        "--result_video", str(files / "result.mp4"), "--relative", "--adapt_scale", "--cpu",
        "--crop", "none",
    ]  # fmt: skip
    assert demo.main(arguments) == 0
    with VideoReader(files / "result.mp4") as reader:
        assert len(list(reader)) == 8
    assert demo.main(["--config", "vox-256"]) == 1
    assert "vox-cpk.pth.tar" in capsys.readouterr().err


def test_the_demo_takes_a_photo_as_a_phone_makes_it(demo, tmp_path, portraits):
    """Not squeezed into a square: its face is moved, and put back into the whole photo."""
    photo = np.full((300, 500, 3), 120, np.uint8)
    photo[20:276, 230:486] = portraits[0]
    write_image(tmp_path / "photo.png", photo)
    save_video(tmp_path / "driving.mp4", [photo, np.roll(photo, 5, axis=1)], fps=10)
    arguments = [
        *TINY_OPTIONS,
        "--source_image", str(tmp_path / "photo.png"), "--driving_video", str(tmp_path / "driving.mp4"),
        "--result_video", str(tmp_path / "result.mp4"), "--relative", "--cpu",
    ]  # fmt: skip
    assert demo.main(arguments) == 0
    with VideoReader(tmp_path / "result.mp4") as reader:
        assert reader.size == (300, 500)


@pytest.mark.parametrize("module", ["demo", "fomm"])
def test_the_notebook_script_runs_with_its_import_changed(demo, files, module):
    names = {}
    exec(f"from {module} import load_checkpoints, make_animation", names)
    load_checkpoints, make_animation = names["load_checkpoints"], names["make_animation"]
    from fomm import display

    source_image = imageio.v2.imread(files / "photo.png")
    driving_video = imageio.v2.mimread(files / "driving.mp4", memtest=False)

    source_image = resize(source_image, (256, 256))[..., :3]
    driving_video = [resize(frame, (256, 256))[..., :3] for frame in driving_video]

    generator, kp_detector = load_checkpoints(
        config_path=str(TINY_FILES[0]), checkpoint_path=str(TINY_FILES[1])
    )
    predictions = make_animation(source_image, driving_video, generator, kp_detector, relative=True)

    imageio.v2.mimsave(files / "generated.mp4", [img_as_ubyte(frame) for frame in predictions])
    html = display(source_image, driving_video, predictions).to_html5_video()

    assert len(predictions) == 8 and predictions[0].shape == (64, 64, 3)
    assert len(imageio.v2.mimread(files / "generated.mp4", memtest=False)) == 8
    assert html.startswith("<video") and "data:video/mp4;base64," in html
