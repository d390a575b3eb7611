"""The static page's folder: its networks, the runtime from npm, what is refused. No browser, no network."""

import base64
import hashlib
import http.server
import io
import json
import tarfile
import threading

import numpy as np
import pytest
import torch
from golden_data import TINY_OPTIONS

pytest.importorskip("onnx", reason="export needs onnx: pip install 'fomm[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="export needs ONNX Runtime: pip install 'fomm[onnx]'")

import onnx  # noqa: E402

import fomm.browser.page  # noqa: E402
import fomm.browser.runtime  # noqa: E402
from fomm import load_checkpoints  # noqa: E402
from fomm.browser.networks import OPSET, halve_weights  # noqa: E402
from fomm.browser.page import SITE, write_page  # noqa: E402
from fomm.browser.runtime import FILES, read_runtime  # noqa: E402
from fomm.bundled import bundled  # noqa: E402
from fomm.cli import main  # noqa: E402
from fomm.engines.inference import InferenceNetworks  # noqa: E402
from fomm.errors import ExportError, InputError  # noqa: E402
from fomm.face import face_mesh  # noqa: E402
from fomm.face.mesh import crop_around, crop_to_image, sample_crop  # noqa: E402
from fomm.face.search import find_faces  # noqa: E402
from fomm.media import read_image  # noqa: E402
from fomm.model import Keypoints  # noqa: E402


def make_package(files):
    """Return an npm package that holds some files of its folder dist."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


PACKAGE = make_package({name: name.encode() for name in (*FILES, "../../../evil.js")})


@pytest.fixture
def pinned(monkeypatch, tmp_path):
    """Pin ``PACKAGE``, with an empty cache and a registry that nobody answers."""
    digest = base64.b64encode(hashlib.sha512(PACKAGE).digest()).decode()
    monkeypatch.setattr(fomm.browser.runtime, "INTEGRITY", digest)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def registry(monkeypatch):
    """Give a registry that answers with what is put into ``content``, and the paths that it was asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        content, asked = PACKAGE, []

        def do_GET(self):
            self.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/")
        yield Handler
        server.shutdown()


def test_the_runtime_is_downloaded_once(pinned, registry):
    expected = {name: name.encode() for name in FILES}
    assert read_runtime() == expected
    assert read_runtime() == expected
    assert registry.asked == [f"/onnxruntime-web/-/{fomm.browser.runtime.FILE}"]


def test_another_package_is_refused(pinned, registry, tmp_path):
    registry.content = make_package(dict.fromkeys(FILES, b"evil"))
    with pytest.raises(ExportError, match="is another file, its hash is wrong; on another machine: npm pack"):
        read_runtime()
    assert not list(tmp_path.rglob("*.tgz"))


def test_a_damaged_file_of_the_cache_is_replaced(pinned, registry, tmp_path):
    read_runtime()
    (kept,) = tmp_path.rglob("*.tgz")
    kept.write_bytes(b"half of it")
    assert set(read_runtime()) == set(FILES)
    assert kept.read_bytes() == PACKAGE


def test_without_a_home_folder_nothing_is_kept(pinned, registry, monkeypatch):
    def find_no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(fomm.browser.runtime, "user_cache_folder", find_no_home)
    for _ in range(2):
        assert set(read_runtime()) == set(FILES)
    assert len(registry.asked) == 2


def test_no_registry(pinned):
    with pytest.raises(ExportError, match=r"cannot download onnxruntime-web-.* --runtime onnxruntime-web-"):
        read_runtime()


def test_a_registry_that_is_no_address(pinned, monkeypatch):
    monkeypatch.setenv("npm_config_registry", "file:///etc")
    with pytest.raises(ExportError, match="npm_config_registry is 'file:///etc'; expected an address"):
        read_runtime()


def test_the_package_as_a_file(pinned, tmp_path):
    (tmp_path / "p.tgz").write_bytes(PACKAGE)
    assert set(read_runtime(tmp_path / "p.tgz")) == set(FILES)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"not a package", PACKAGE[:-1], PACKAGE + b"\0"])
def test_a_file_that_is_another(pinned, tmp_path, content):
    (tmp_path / "p.tgz").write_bytes(content)
    with pytest.raises(InputError, match=r"is not the package onnxruntime-web .* fetch it by: npm pack"):
        read_runtime(tmp_path / "p.tgz")


def test_a_file_that_is_not_there(pinned, tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.tgz: No such file"):
        read_runtime(tmp_path / "none.tgz")
    with pytest.raises(InputError, match="cannot read"):
        read_runtime(tmp_path)


def test_weights_without_labels_are_refused(tmp_path, capsys):
    assert main(["export", "--web", str(tmp_path / "page"), *TINY_OPTIONS]) == 1
    assert "needs weights with labelled key points" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--web", "page", "--precision", "int8"], "--precision and --calibration are for -o"),
        (["--web", "page", "--calibration", "a.mp4"], "--precision and --calibration are for -o"),
        (["-o", "folder", "--runtime", "p.tgz"], "--runtime is for --web"),
    ],
)
def test_options_that_do_not_go_together(words, told, capsys):
    assert main(["export", *words]) == 1
    assert told in capsys.readouterr().err


@pytest.fixture(scope="module")
def networks():
    return load_checkpoints(cpu=True)


@pytest.fixture(scope="module")
def written(networks, tmp_path_factory):
    """Give the folder of a page whose runtime is empty, and what was told of its networks."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fomm.browser.page, "read_runtime", lambda _: dict.fromkeys(FILES, b""))
        return folder, write_page(folder, *networks)


def test_the_folder_is_whole(written):
    folder, _ = written
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names >= {path.name for path in SITE.iterdir()} | {"constants.json", "apache-2.0.txt"}
    assert names >= {f"runtime/{name}" for name in FILES}
    assert names >= {"samples/grace_hopper.jpg", "samples/driving.mp4"}
    constants = json.loads((folder / "constants.json").read_text())
    assert constants["comment"].startswith("Made with fomm ") and len(constants["waves"]["signs"]) > 1000


def test_networks_are_small_and_of_one_opset(written):
    folder, told = written
    sizes = {network.name: (folder / "networks" / f"{network.name}.onnx").stat().st_size for network in told}
    assert sum(sizes.values()) < 17e6
    for name in sizes:
        model = onnx.load(folder / "networks" / f"{name}.onnx")
        assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]


def run(folder, name, **inputs):
    session = onnxruntime.InferenceSession(folder / "networks" / f"{name}.onnx")
    got = session.run(None, inputs)
    return dict(zip([output.name for output in session.get_outputs()], got, strict=True))


def test_the_photo_is_painted_as_by_torch(written, networks):
    """The bundled photo, its mouth pulled down: networks in half precision against torch in float32."""
    folder, _ = written
    photo = read_image(bundled("examples", "grace_hopper.jpg")).astype(np.float32) / 255
    picture = torch.from_numpy(photo).permute(2, 0, 1)[None]
    exact = InferenceNetworks(*networks)
    with torch.inference_mode():
        source = exact.encode(picture)
        source = source._replace(freedom=torch.full((1, 64, 64), 0.75))
        value, jacobian, _ = source.keypoints
        moved = value.clone()
        moved[:, 4:10, 1] += 0.1
        wanted = exact.render(source, Keypoints(moved, jacobian))
        rest = exact.render(source, source.keypoints)
    still = run(folder, "source", picture=picture.numpy())
    points = run(folder, "keypoints", images=picture.numpy())
    assert np.abs(points["value"] - value.numpy()).max() < 0.01
    assert np.abs(points["jacobian"] - jacobian.numpy()).max() < 0.05
    got = run(
        folder, "render", **still, freedom=source.freedom.numpy(),
        source_value=value.numpy(), source_jacobian=jacobian.numpy(),
        value=moved.numpy(), jacobian=jacobian.numpy(),
    )  # fmt: skip
    difference = np.abs(got["prediction"] - wanted.prediction.numpy()) * 255
    print(f"off by {difference.max():.2f} levels at most, {difference.mean():.3f} in the mean")
    assert difference.max() < 1 and difference.mean() < 0.1
    assert (wanted.prediction - rest.prediction).abs().mean() * 255 > 1  # it did move


def test_the_mesh_is_that_of_torch(written):
    folder, _ = written
    photo = read_image(bundled("examples", "grace_hopper.jpg"))
    (face,) = find_faces(photo)
    crop = crop_around(face)
    got = run(folder, "mesh", image=sample_crop(photo, crop).numpy())
    points = crop_to_image(got["points"][0], crop)
    assert np.abs(points - face_mesh(photo, face).points).max() < 0.01  # pixels


def test_large_weights_are_halved_and_small_ones_kept():
    rng = np.random.default_rng(0)
    large, small = rng.normal(size=(300, 2)).astype(np.float32), np.array([0.1, 0.2], np.float32)
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "large"], ["y"]),
        onnx.helper.make_node("Add", ["y", "small"], ["z"]),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "g",
        [value("x", onnx.TensorProto.FLOAT, [1, 300])], [value("z", onnx.TensorProto.FLOAT, [1, 2])],
        [onnx.numpy_helper.from_array(large, "large"), onnx.numpy_helper.from_array(small, "small")],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
    content = halve_weights(model.SerializeToString())
    kinds = {one.name: one.data_type for one in onnx.load_from_string(content).graph.initializer}
    assert kinds == {"large.half": onnx.TensorProto.FLOAT16, "small": onnx.TensorProto.FLOAT}
    x = rng.normal(size=(1, 300)).astype(np.float32)
    (got,) = onnxruntime.InferenceSession(content).run(None, {"x": x})
    np.testing.assert_allclose(got, x @ large.astype(np.float16).astype(np.float32) + small, rtol=1e-4)
    large[0, 0] = 1e6
    graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(large, "large"))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
    with pytest.raises(ExportError, match="the weight large is too large for half precision"):
        halve_weights(model.SerializeToString())
