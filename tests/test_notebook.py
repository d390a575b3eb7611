import base64

import numpy as np
import pytest

from fomm import InputError, display
from fomm.bundled import bundled
from fomm.media import VideoReader


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


def test_the_notebook_runs():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    path = bundled("examples", "demo.ipynb")
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "outputs are not kept in the repository"
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("<video" in output.get("data", {}).get("text/html", "") for output in shown)
