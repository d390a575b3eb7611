import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fomm import InputError, display
from fomm.bundled import bundled
from fomm.face import detect_faces, face_mesh
from fomm.media import VideoReader, read_image


def test_three_pictures_in_a_row_50_ms_a_frame(tmp_path):
    source = np.full((64, 64, 3), 255, np.uint8)
    driving = [np.zeros((32, 64, 3), np.uint8)] * 5
    generated = [np.full((64, 64, 3), 0.5, np.float32)] * 5
    video = display(source, driving, generated)
    assert video._repr_html_() == video.to_html5_video()
    assert 'width="256" height="64"' in video.to_html5_video()
    data = video.to_html5_video().split("base64,")[1].split('"')[0]
    (tmp_path / "video.mp4").write_bytes(base64.b64decode(data))
    with VideoReader(tmp_path / "video.mp4") as reader:
        assert reader.fps == 20
        frames = list(reader)
    assert len(frames) == 5 and frames[0].shape == (64, 256, 3)
    for left, wanted in ((0, 255), (64, 0), (192, 128)):
        middle = frames[2][16:48, left + 16 : left + 48].mean()
        assert middle == pytest.approx(wanted, abs=4)


def test_without_a_result_two_pictures(tmp_path):
    source = np.zeros((64, 64, 3), np.uint8)
    assert display(source, iter([source, source])).size == (64, 128)
    with pytest.raises(InputError, match="no frames"):
        display(source, [])
    with pytest.raises(InputError, match="source has shape"):
        display(source[0], [source])


def run_notebook(name, timeout=300):
    """Return what the cells of a notebook in ``examples/`` show, each by its types of media.

    What a cell prints has the type ``text/plain``. A cell may take ``timeout`` seconds.
    """
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    path = bundled("examples", name)
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "outputs are not kept in the repository"
    client = nbclient.NotebookClient(
        notebook, timeout=timeout, resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.get("data", {"text/plain": output.get("text", "")}) for output in outputs]


def read_png(shown):
    with Image.open(BytesIO(base64.b64decode(shown["image/png"]))) as picture:
        return np.asarray(picture.convert("RGB"))


def test_the_notebook_runs():
    assert any("<video" in shown.get("text/html", "") for shown in run_notebook("demo.ipynb"))


def test_the_notebook_with_sliders_opens_the_mouth():
    pytest.importorskip("ipywidgets")
    sliders, edited = run_notebook("edit.ipynb")
    assert "application/vnd.jupyter.widget-view+json" in sliders
    picture = read_image(bundled("examples", "astronaut.png"))
    (face,) = detect_faces(picture)
    bridge = int(face_mesh(picture, face).points[197, 1])
    change = np.abs(read_png(edited).astype(int) - picture)
    assert change[:bridge].max() <= 2 + 10, "the mark changes a pixel by at most 10 levels"
    assert change[bridge:].max() > 50


def test_the_notebook_on_the_networks_shows_every_step():
    pictures = [read_png(shown) for shown in run_notebook("inside.ipynb") if "image/png" in shown]
    sizes = [picture.shape[:2] for picture in pictures]
    assert sizes == [(256, 768), (256, 768), (256, 256), (256, 768), (256, 256), (256, 512), (500, 800)]
    assert min(picture.std() for picture in pictures) > 10, "a picture of one colour shows nothing"
    (rest, painted), source = np.split(pictures[5], 2, axis=1), pictures[0][:, :256]
    far, near = (np.abs(picture.astype(int) - source).mean() for picture in (painted, rest))
    assert near < 6 < far, "at rest the network paints the photo, and then moves it"


@pytest.mark.slow
def test_the_notebook_that_trains_ends_with_a_report():
    pytest.importorskip("matplotlib")
    shown = run_notebook("train.ipynb", timeout=1200)
    pictures = [read_png(output) for output in shown if "image/png" in output]
    data, _, seen, _ = pictures  # the others are curves and strips of frames
    assert data.shape == (2 * 64, 8 * 64, 3), "two people in eight frames"
    assert seen.shape == (2 * 4 * 64, 2 * 5 * 64, 3), "four pairs in five columns"
    assert min(picture.std() for picture in pictures) > 10, "a picture of one colour shows nothing"
    (row,) = (
        line.split()
        for output in shown
        for line in output.get("text/plain", "").splitlines()
        if line.strip().startswith("L1, face")
    )
    trained, unchanged, driving = map(float, row[-3:])
    assert driving == 0 and trained < 0.9 * unchanged, "nearer to the truth than the source that stands still"
    assert any("<video" in output.get("text/html", "") for output in shown)
