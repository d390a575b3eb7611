"""The page in the browser, through its API: what it makes, and what it refuses."""

import os
import re
import shlex
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from base64 import b64decode
from dataclasses import fields, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from golden_data import TINY_FILES
from PIL import Image

from fomm import Edit, InputError, edit, load_checkpoints
from fomm.animation import result
from fomm.animation.option_table import group_options
from fomm.animation.options import Excerpt
from fomm.animation.template import find_template, read_template, write_template
from fomm.bundled import bundled
from fomm.cli import main
from fomm.commands.options import given_options
from fomm.commands.parser import build_parser
from fomm.errors import FommError
from fomm.face import detect_faces, face_mesh
from fomm.marks import read_mark
from fomm.media import VideoReader, read_image, save_video, video_comment, write_image
from fomm.media.ffmpeg import find_executable, probe

pytestmark = pytest.mark.filterwarnings("ignore::Warning:gradio")
pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'fomm[web]'")
httpx = pytest.importorskip("httpx")
client_module = pytest.importorskip("gradio_client")

from gradio_client.utils import Status  # noqa: E402

import fomm.web  # noqa: E402
from fomm.web import Limits, start_server  # noqa: E402
from fomm.web.many import fill_table, read_rows  # noqa: E402
from fomm.web.spell import spell_command  # noqa: E402
from fomm.web.work import Stopped, Work  # noqa: E402

HOPPER, CLIP = bundled("examples", "grace_hopper.jpg"), bundled("examples", "driving.mp4")
LIMITS = Limits(
    file_bytes=4_000_000, photo_pixels=4_000_000, video_pixels=500_000, video_seconds=3.0, waiting=2
)
PATIENCE = 120  # seconds, on a busy machine
http = httpx.Client(timeout=PATIENCE)
PLACE = ("the largest", False, 0, 0, 100)  # which part of the photo moves
REST = tuple(field.default for field in fields(Edit))


@pytest.fixture(scope="module")
def networks():
    return load_checkpoints(cpu=True)


@pytest.fixture(scope="module")
def server(networks):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with start_server(*networks, port=port, limits=LIMITS) as server:
        yield server


def connect(server):
    """Return a client that waits for a busy machine."""
    return client_module.Client(server.url, verbose=False, httpx_kwargs={"timeout": PATIENCE})


@pytest.fixture(scope="module")
def client(server):
    return connect(server)


def give(path):
    return client_module.handle_file(str(path))


def animation(
    photo, driver="blink", video=None, motion=None, *, agreed=True, seconds=0.2, strengths=(1, 1, 1, 1)
):
    """Return the values that the button Animate sends."""
    driving = (
        driver,
        None if video is None else give(video),
        None if motion is None else give(motion),
    )
    return (agreed, give(photo), *PLACE, *driving, False, True, *strengths, *REST, 0, seconds)


def value(output):
    """Return what a control gets, of an output that may change other things of it too."""
    if isinstance(output, dict) and "value" in output:
        output = output["value"]
    return output["video"] if isinstance(output, dict) and "video" in output else output


def shown_picture(html: str) -> np.ndarray:
    """Return the picture in HTML of the page, HxWx3."""
    data = re.search(r"data:image/jpeg;base64,([^\"]+)", html)
    assert data, html[:300]
    return np.asarray(Image.open(BytesIO(b64decode(data[1]))).convert("RGB"))


def refused(call) -> str:
    """Return what the page says against a request."""
    with pytest.raises(Exception, match=r"\w") as caught:
        call()
    return str(caught.value)


def left(server) -> list[Path]:
    """Return the folders of requests that are still there."""
    return list(server.studio.folder.iterdir())


# -- what it makes -----------------------------------------------------------------------------------


def test_a_preview_is_what_the_library_makes(client, networks):
    change = Edit(yaw=10, smile=0.5)
    html = client.predict(give(HOPPER), *PLACE, None, *vars(change).values(), api_name="/preview_edit")
    wanted = edit(HOPPER, change, *networks)
    assert np.abs(shown_picture(html).astype(int) - wanted).mean() < 2  # it comes as a JPEG


def test_two_sliders_move_the_mouth_and_the_brows_and_leave_the_rest(client, server, monkeypatch):
    """Without the mark, which changes every pixel by some levels; the first picture has one."""
    status, file, _ = client.predict(True, give(HOPPER), *PLACE, None, *REST, api_name="/edit")
    assert "Done" in status and read_mark(read_image(value(file))) is not None
    monkeypatch.setattr(result, "Marker", lambda origin: lambda frame: frame)
    photo = read_image(HOPPER)
    (face,) = detect_faces(photo)
    points = face_mesh(photo, face).points
    changed = {}
    for name, number in (("mouth", 0.5), ("brows", 1.0)):
        numbers = vars(replace(Edit(), **{name: number})).values()
        status, file, command = client.predict(True, give(HOPPER), *PLACE, None, *numbers, api_name="/edit")
        assert "Done" in status and f"--{name}=" in value(command)
        changed[name] = np.abs(read_image(value(file)).astype(int) - photo).max(-1)
    nose, bridge = points[2, 1], points[168, 1]  # rows: below the nose, between the eyes
    rows = np.arange(len(photo))
    assert changed["mouth"][rows > nose].max() > 20 and changed["mouth"][rows < bridge].max() <= 2
    assert changed["brows"][rows < bridge].max() > 20 and changed["brows"][rows > nose].max() <= 2
    assert left(server) == []


def test_a_strength_is_seen_in_the_preview(client):
    def preview(*strengths):
        values = (give(HOPPER), *PLACE, "talk", None, None, 40, *strengths, *REST, 0, 0)
        return shown_picture(client.predict(*values, api_name="/preview")).astype(int)

    full, none = preview(1, 1, 1, 1), preview(0, 0, 0, 0)
    assert np.abs(none - read_image(HOPPER)).mean() < 2 and np.abs(full - none).max() > 20


def test_a_job_says_how_far_it_is_and_gives_a_video_and_its_command(client, server):
    job = client.submit(*animation(HOPPER, "talk", seconds=1), api_name="/animate")
    *_, status, result, command = job.result()
    said = " ".join(str(output[0]) for output in job.outputs())
    assert re.search(r"\d+ of 25 frames · about \d+ s left", said) and "25 frames" in status
    with VideoReader(value(result)) as reader:
        assert reader.size == (256, 256) and len(list(reader)) == 25
    wanted = "fomm animate grace_hopper.jpg --motion talk -o grace_hopper-talk.mp4 --duration=1"
    assert value(command) == wanted
    assert left(server) == []


def test_what_the_networks_see(client):
    driver = ("blink", None, None, 0, 1)
    _, frames, first = client.predict(give(HOPPER), *PLACE, *driver, api_name="/look")
    other = client.predict(3, give(HOPPER), *PLACE, *driver, api_name="/inside")
    assert frames["maximum"] == 24 and first != other
    for words in ("Key points", "Flow", "Occlusion", "Painted", "Pasted"):
        assert first.count(words) == 2  # as the picture's text, and below it


def test_faces_are_found_and_can_be_chosen(client):
    face, _, drawn, *_ = client.predict(give(bundled("examples", "group.jpg")), api_name="/photo")
    assert [name for name, _ in face["choices"]] == ["the largest", "0", "1", "2", "3", "4", "all"]
    assert "5 faces" in drawn


def test_a_table_of_jobs(client, server, tmp_path):
    photos, nobody = [give(HOPPER), give(bundled("examples", "astronaut.png"))], tmp_path / "nobody.png"
    Image.new("RGB", (64, 64)).save(nobody)
    blink = tmp_path / "short.motion.safetensors"
    write_template(blink, read_template(find_template("blink"), Excerpt(duration=0.2)))
    table = [["grace_hopper.jpg", blink.name, "a.mp4"], ["nobody.png", "blink", "b.mp4"], ["", "", ""],
             ["astronaut.png", blink.name, "c.gif"]]  # fmt: skip
    sent = {"headers": ["photo", "driver", "output"], "data": table, "metadata": None}
    status, files = client.predict(True, [*photos, give(nobody)], [give(blink)], sent, api_name="/many")
    assert "Done: 2 of 3" in status and "b.mp4: nobody.png: no face was found" in status
    assert [Path(path).name for path in value(files)] == ["a.mp4", "c.gif"] and left(server) == []
    with VideoReader(value(files)[0]) as reader:
        assert len(list(reader)) == 5


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["/etc/passwd", "blink", "a.mp4"], "row 1: no photo /etc/passwd"),
        (["p.jpg", "../d.mp4", "a.mp4"], "row 1: there is no driver"),
        (["p.jpg", "blink", "../a.mp4"], "row 1: the output"),
        (["p.jpg", "blink", "/tmp/a.mp4"], "row 1: the output"),
        (["p.jpg", "blink", "a.png"], "row 1: the output"),
        (["", "", ""], "0 jobs; expected 1 to 3"),
    ],
)
def test_rows_that_cannot_be(row, words):
    with pytest.raises(InputError, match=words):
        read_rows([row], ["/uploads/p.jpg"], [], 3)


def test_tables_that_cannot_be():
    rows = [["p.jpg", "clip", f"{number}.mp4"] for number in range(4)]
    with pytest.raises(InputError, match="4 jobs; expected"):
        read_rows(rows, ["/uploads/p.jpg"], [], 3)
    with pytest.raises(InputError, match="row 2: another row has the output"):
        read_rows([["p.jpg", "clip", "a.mp4"], ["p.jpg", "clip", "A.mp4"]], ["/uploads/p.jpg"], [], 3)
    with pytest.raises(InputError, match="two files are called"):
        read_rows(rows, ["/a/p.jpg", "/b/p.jpg"], [], 3)
    filled = fill_table(["/uploads/p.jpg"], ["/uploads/d.mp4", "/uploads/m.motion.safetensors"])
    rows = read_rows(filled, ["/a/p.jpg"], ["/a/d.mp4", "/b/m.motion.safetensors"], 3)
    assert [row.output for row in rows] == [
        "p-d.mp4", "p-m.mp4",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["r.mp4", "r.webm", "r.gif", "r.png", "r.jpg", "r.webp"])
def test_a_file_tells_what_made_it(client, tmp_path, name):
    frame = np.full((64, 64, 3), 128, np.uint8)
    if name.endswith(("mp4", "webm", "gif")):
        save_video(tmp_path / name, [frame] * 3, fps=10)
    else:
        write_image(tmp_path / name, frame, comment=video_comment())
    said = client.predict(give(tmp_path / name), api_name="/inspect")
    assert f"comment:     {video_comment()}" in said
    Image.fromarray(frame).save(tmp_path / "plain.png")
    assert "comment:     none" in client.predict(give(tmp_path / "plain.png"), api_name="/inspect")


def test_the_command_does_what_the_page_does():
    values = {
        "crop": (-3, 4, 50, 60), "face": "all", "strength": {"mouth": 1.2, "pose": 0.0}, "pitch": -5.0,
        "eyes": 0.0, "start": 1.5, "duration": None, "audio": False, "side_by_side": False, "smile": 0.0,
    }  # fmt: skip
    command = spell_command(["animate", "my photo.jpg", "a.mp4", "-o", "r.mp4"], values)

    parsed = build_parser().parse_args(shlex.split(command)[1:])
    assert parsed.photo == Path("my photo.jpg") and "smile" not in command
    assert group_options(given_options(parsed)) == group_options(values)


# -- what it refuses ---------------------------------------------------------------------------------


def test_consent_is_asked_for_before_the_first_job(client):
    assert "first tick" in refused(
        lambda: client.predict(*animation(HOPPER, agreed=False), api_name="/animate")
    )
    edited = (give(HOPPER), *PLACE, None, *REST)
    assert "first tick" in refused(lambda: client.predict(False, *edited, api_name="/edit"))


def test_text_named_as_a_picture(client, tmp_path):
    path = tmp_path / "cat.jpg"
    path.write_text("this is no picture")
    words = refused(lambda: client.predict(give(path), api_name="/photo"))
    assert "cat.jpg is not a picture" in words and "/cat.jpg" not in words
    assert "cat.jpg is not" in refused(lambda: client.predict(*animation(path), api_name="/animate"))


def test_a_picture_that_says_it_is_huge_is_not_decoded(client, tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    assert "huge.png has more" in refused(lambda: client.predict(give(path), api_name="/photo"))
    assert "huge.png has more" in refused(lambda: client.predict(*animation(path), api_name="/animate"))
    like = (give(HOPPER), *PLACE, give(path), *REST)
    assert "huge.png has more" in client.predict(*like, api_name="/preview_edit")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../../../etc/passwd", "http://127.0.0.1:1/a.jpg", "file:///etc/passwd"]
)
def test_paths_and_addresses_are_not_taken(client, server, path):
    given = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "a.jpg"}
    for name in ("photo", "inspect"):
        answer = http.post(f"{server.url}gradio_api/call/{name}", json={"data": [given]})
        if answer.status_code == 200:
            number = answer.json()["event_id"]
            told = http.get(f"{server.url}gradio_api/call/{name}/{number}").text
            assert "event: error" in told and "root:" not in told and "complete" not in told
        else:
            assert answer.status_code == 400 and "://" in path
    assert http.get(f"{server.url}gradio_api/file={path}").status_code in (403, 404)


def test_an_address_beside_a_path_is_not_fetched(client, server):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(1)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/a.jpg"
        for given in ({"path": address}, {"path": "a.jpg", "url": address}, {"path": "", "url": address}):
            given = given | {"meta": {"_type": "gradio.FileData"}}
            http.post(f"{server.url}gradio_api/call/photo", json={"data": [given]})
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "weights.motion.safetensors"])
def test_checkpoints_are_not_taken(client, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(Path(TINY_FILES[1]).read_bytes())
    words = refused(lambda: client.predict(*animation(HOPPER, "file", motion=path), api_name="/animate"))
    assert re.search("no motion|Invalid file type", words)
    words = refused(lambda: client.predict(*animation(HOPPER, "video", path), api_name="/animate"))
    assert re.search("cannot read|no motion|Video does not have|Invalid file", words)
    assert "not a picture" in refused(lambda: client.predict(give(path), api_name="/photo"))


def write_frames(path, seconds, size=(32, 32), fps=10):
    save_video(path, [np.full((*size, 3), 90, np.uint8)] * round(seconds * fps), fps=fps)
    return path


def test_videos_that_are_too_long_or_too_large(client, tmp_path):
    long, large = (
        write_frames(tmp_path / "long.mp4", 5),
        write_frames(tmp_path / "large.mp4", 0.2, (720, 720)),
    )
    asked = animation(HOPPER, "video", long, seconds=0)
    assert "long.mp4 gives 5 seconds; the page takes 3" in refused(
        lambda: client.predict(*asked, api_name="/animate")
    )
    words = refused(lambda: client.predict(*animation(HOPPER, "video", large), api_name="/animate"))
    assert "720x720 pixels a frame" in words
    preview = (give(HOPPER), *PLACE, "video", give(large), None, 50, 1, 1, 1, 1, *REST, 0, 0)
    assert "720x720 pixels a frame" in client.predict(*preview, api_name="/preview")


def test_a_video_that_does_not_say_how_long_it_is_is_cut(client, tmp_path):
    """As of a stream that never ends: 20 seconds, whose container was written without a length."""
    path = tmp_path / "endless.h264"
    source = ["-stream_loop", "9", "-i", str(CLIP), "-t", "20", "-an", "-vf", "scale=128:128"]
    output = ["-c:v", "libx264", "-preset", "ultrafast", "-f", "h264", str(path)]
    subprocess.run([find_executable(), "-v", "error", *source, *output], check=True)
    assert probe(path).seconds is None
    place = (give(HOPPER), *PLACE, "video", give(path), None, 0, 0)
    _, frames, _ = client.predict(*place, api_name="/look")
    assert frames["maximum"] + 1 == round(LIMITS.video_seconds * 25)


def test_a_file_that_is_too_large_is_not_uploaded(client, tmp_path):
    path = tmp_path / "large.jpg"
    path.write_bytes(b"x" * 5_000_000)
    assert "exceeds the maximum file size" in refused(lambda: client.predict(give(path), api_name="/photo"))


def test_a_request_that_is_too_large(server):
    answer = http.post(f"{server.url}gradio_api/call/photo", json={"data": ["x" * 2_000_000]})
    assert answer.status_code == 413


# -- jobs --------------------------------------------------------------------------------------------


@pytest.fixture
def hanging(tmp_path, monkeypatch):
    """Let ffmpeg hang; give the file in which its process number stands."""
    program, number = tmp_path / "ffmpeg", tmp_path / "number"
    program.write_text(f"#!/bin/sh\necho $$ > {number}\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    return number


def wait_for(condition, seconds=PATIENCE) -> bool:
    """Wait until a condition holds, and return whether it does."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(condition())


def is_running(number: Path) -> bool:
    try:
        os.kill(int(number.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_a_time_limit_ends_ffmpeg(client, server, hanging, monkeypatch):
    monkeypatch.setattr(server.studio, "limits", replace(LIMITS, job_seconds=5.0, still_seconds=5.0))
    job = client.submit(*animation(HOPPER, "video", CLIP), api_name="/animate")
    status, *_ = job.result(timeout=PATIENCE)
    assert "longer than 5 seconds" in status and not is_running(hanging)
    preview = (give(HOPPER), *PLACE, "video", give(CLIP), None, 50, 1, 1, 1, 1, *REST, 0, 0)
    assert "cannot read driving.mp4" in client.predict(*preview, api_name="/preview")
    assert not is_running(hanging) and left(server) == []


def test_cancel_ends_a_job(client, server, hanging):
    job = client.submit(*animation(HOPPER, "video", CLIP), api_name="/animate")
    assert wait_for(hanging.exists)
    assert len(left(server)) == 1
    client.predict(api_name="/cancel")
    status, *_ = job.result(timeout=PATIENCE)
    assert "cancelled" in status and not is_running(hanging) and left(server) == []


def test_one_job_runs_and_few_wait(client, server, hanging):
    others = [connect(server) for _ in range(4)]
    jobs = []
    for other in others:  # one runs, two wait, and there is no room for the fourth
        job = other.submit(*animation(HOPPER, "video", CLIP), api_name="/animate")
        jobs.append(job)
        assert wait_for(lambda job=job: job.status().code not in (Status.STARTING, Status.JOINING_QUEUE))
    assert "full" in refused(lambda: jobs[3].result(timeout=PATIENCE))
    assert len(left(server)) == 1
    for other, job in zip(others[:3], jobs[:3], strict=True):
        assert wait_for(hanging.exists)
        hanging.unlink()
        # as the browser does: past the queue, which is full
        asked = {"data": [], "session_hash": other.session_hash}
        assert http.post(f"{server.url}gradio_api/run/cancel", json=asked).status_code == 200
        assert "cancelled" in job.result(timeout=PATIENCE)[0]


def test_work_that_is_left_early_is_stopped():
    ended = threading.Event()

    def function(told):
        try:
            for number in range(1, 10_000):
                time.sleep(0.01)
                told(number, 10_000)
        finally:
            ended.set()
        return True

    work = Work(function, 60)
    watched = work.watch()
    next(watched)
    watched.close()
    assert ended.is_set()
    with pytest.raises(Stopped, match="cancelled"):
        work.result()


def test_what_ffmpeg_begins_after_the_stop_ends_too(hanging):
    stopped = threading.Event()

    def function(told):
        stopped.wait()
        probe(CLIP)

    work = Work(function, 60)
    watched = work.watch()
    next(watched)
    work.stop()
    stopped.set()
    begun = time.monotonic()
    list(watched)
    assert time.monotonic() - begun < 30, "it waited for the time limit"
    with pytest.raises(Stopped, match="cancelled"):
        work.result()
    assert not is_running(hanging)


# -- where it is -------------------------------------------------------------------------------------


def test_it_is_for_this_machine_alone(server):
    port = int(server.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=2):
        pass  # an address that is this machine's too, but not the one that is bound
    assert http.get(server.url, headers={"Host": f"elsewhere.example:{port}"}).status_code == 403
    foreign = {"Origin": "http://elsewhere.example", "Host": f"localhost:{port}"}
    answer = http.get(server.url, headers=foreign)
    assert "access-control-allow-origin" not in answer.headers


def test_nothing_is_loaded_from_elsewhere(server):
    page = http.get(server.url)
    assert "default-src 'self'" in page.headers["content-security-policy"]
    loaded = re.findall(r"<(?:script|link|img|iframe|video)\b[^>]*(?:src|href)=[\"'](https?:)?//", page.text)
    assert not loaded and '"analytics_enabled":false' in page.text.replace(" ", "")


def test_all_files_are_deleted_at_the_end(networks):
    with start_server(*networks, port=7999, limits=LIMITS) as server:
        client = connect(server)
        client.predict(give(HOPPER), api_name="/photo")
        folder = server.studio.folder.parent
        assert list(folder.rglob("grace_hopper.jpg"))
    assert not folder.exists()


def test_uploads_are_deleted_after_a_while(networks):
    with start_server(*networks, port=7997, limits=replace(LIMITS, kept_seconds=10)) as server:
        client = connect(server)
        client.predict(give(HOPPER), api_name="/photo")
        folder = server.studio.folder.parent
        (kept,) = folder.rglob("grace_hopper.jpg")
        assert wait_for(lambda: not kept.exists())
        given = {"path": str(kept), "meta": {"_type": "gradio.FileData"}}
        words = refused(lambda: client.predict(given, api_name="/photo"))
        assert "grace_hopper.jpg" in words and "root" not in words


def test_a_port_that_is_taken(networks):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FommError, match=f"cannot serve the page on 127.0.0.1, port {port}"):
            start_server(*networks, port=port)


def test_without_gradio_one_sentence_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["web"]) == 1
    assert capsys.readouterr().err == "fomm: fomm web needs Gradio: pip install 'fomm[web]'\n"


def test_another_host_is_warned_of(monkeypatch, capsys):
    def stop(*networks, host, port, share, compute):
        raise InputError(f"{host} {port} {share}")

    monkeypatch.setattr(fomm.web, "start_server", stop)
    assert main(["web", "--host", "0.0.0.0"]) == 1
    error = capsys.readouterr().err
    assert "warning: --host 0.0.0.0 lets others use the page" in error and "0.0.0.0 7860 False" in error
    assert main(["web"]) == 1
    assert capsys.readouterr().err == "fomm: 127.0.0.1 7860 False\n"
