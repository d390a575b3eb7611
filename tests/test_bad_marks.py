"""Bad files for ``fomm inspect``, and bad keys for ``--credentials``: one sentence each, and status 1."""

import json

import numpy as np
import pytest
from hostile import picture_file
from PIL import Image, PngImagePlugin

from fomm.bundled import bundled
from fomm.cli import main
from fomm.errors import InputError
from fomm.marks import Signer, inspect_file
from fomm.media import write_image

ASTRONAUT = bundled("examples", "astronaut.png")

FILES = {
    "text.mp4": b"no video at all\n",
    "text.png": b"no picture at all\n",
    "empty.mp4": b"",
    "empty.png": b"",
    "zeros.mp4": bytes(5000),
    "page.mp4": b"<!DOCTYPE html><html>gone</html>",
    "list.mp4": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "cut.png": picture_file("PNG")[:60],
    "cut.gif": picture_file("GIF")[:20],
    "box.mp4": b"\0\0\0\x18ftypisom" + bytes(12) + b"\xff\xff\xff\xffmoov",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_none(tmp_path, name, capsys):
    (tmp_path / name).write_bytes(FILES[name])
    assert main(["inspect", str(tmp_path / name)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("fomm: cannot read ") and name in captured.err


@pytest.mark.parametrize("name", ["missing.mp4", "folder"])
def test_no_file(tmp_path, name, capsys):
    (tmp_path / "folder").mkdir()
    assert main(["inspect", str(tmp_path / name)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and name in captured.err and captured.err.count("\n") == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (9, 300)])
def test_pictures_too_small_for_a_mark(tmp_path, size):
    (tmp_path / "small.png").write_bytes(picture_file("PNG", size=size))
    assert inspect_file(tmp_path / "small.png").mark is None


def test_a_comment_that_steers_the_terminal(tmp_path, capsys):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "Made with fomm \x1b[2J\nmark: forged" + "x" * 5000)
    Image.new("RGB", (16, 16)).save(tmp_path / "p.png", pnginfo=info)
    assert main(["inspect", str(tmp_path / "p.png")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and out.count("\n") == 4 and len(out) < 1000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "it is no JSON"),
        (b"[]", "but no object"),
        (b"\xff\xfe\x00", "it is no JSON"),
        (b"[" * 200_000, "it is no JSON"),
        (b" " * (1 << 20) + b"{}", "more than 1048576 bytes"),
    ],
)
def test_a_bad_sidecar(tmp_path, content, words, capsys):
    (tmp_path / "p.png").write_bytes(picture_file("PNG"))
    (tmp_path / "p.png.json").write_bytes(content)
    assert main(["inspect", str(tmp_path / "p.png")]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("facts", [{}, {"result": 3}, {"result": {"sha256": None}}, {"fomm": "\x1b[2J"}])
def test_a_sidecar_that_says_nothing(tmp_path, facts, capsys):
    (tmp_path / "p.png").write_bytes(picture_file("PNG"))
    (tmp_path / "p.png.json").write_text(json.dumps(facts))
    assert main(["inspect", str(tmp_path / "p.png")]) == 3
    out = capsys.readouterr().out
    assert "but of another file" in out and "\x1b" not in out


# -- keys ----------------------------------------------------------------------------------------------

CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
PRIVATE = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 private keys and 0 certificates"),
        (CERTIFICATE, "0 private keys and 1 certificates"),
        (PRIVATE, "1 private keys and 0 certificates"),
        (PRIVATE * 2 + CERTIFICATE, "2 private keys"),
        (PRIVATE + CERTIFICATE, "cannot be read"),
        (bytes(1000), "0 private keys"),
    ],
)
def test_a_bad_key(tmp_path, content, words):
    pytest.importorskip("c2pa")
    (tmp_path / "me.pem").write_bytes(content)
    with pytest.raises(InputError, match=words):
        Signer(tmp_path / "me.pem", "r.mp4")


@pytest.mark.parametrize("result", ["r.webm", "frames", "r.MKV"])
def test_results_that_cannot_be_signed(tmp_path, result):
    pytest.importorskip("c2pa")
    (tmp_path / "me.pem").write_bytes(PRIVATE + CERTIFICATE)
    with pytest.raises(InputError, match="cannot hold content credentials"):
        Signer(tmp_path / "me.pem", result)


def test_no_key(tmp_path):
    pytest.importorskip("c2pa")
    with pytest.raises(InputError, match=r"cannot read .*missing\.pem"):
        Signer(tmp_path / "missing.pem", "r.mp4")
    with pytest.raises(InputError, match="cannot read"):
        Signer(tmp_path, "r.mp4")


def test_a_forged_jumbf_box(tmp_path):
    """A picture that claims credentials which are none is read as one without."""
    pytest.importorskip("c2pa")
    write_image(tmp_path / "p.jpg", np.zeros((64, 64, 3), np.uint8))
    content = (tmp_path / "p.jpg").read_bytes()
    box = b"\xff\xeb\x00\x40JP\x00\x01\x00\x00\x00\x01" + b"\x00\x00\x00\x30jumb" + b"\xff" * 44
    (tmp_path / "p.jpg").write_bytes(content[:2] + box + content[2:])
    found = inspect_file(tmp_path / "p.jpg")
    assert found.credentials is None or found.credentials.state == "Invalid"
