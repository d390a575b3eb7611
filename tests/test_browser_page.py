"""The exported page in a real browser: Chromium, driven by Playwright. Skipped where something is missing."""

import base64
import functools
import http.server
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="export needs ONNX Runtime: pip install 'fomm[onnx]'")
pytest.importorskip("onnx", reason="export needs onnx: pip install 'fomm[onnx]'")

from chromium import start_chromium

from fomm import load_checkpoints
from fomm.animation.animate import animate_frames
from fomm.browser.page import write_page
from fomm.browser.runtime import FILE, VERSION, read_runtime
from fomm.bundled import WEIGHTS, bundled
from fomm.errors import ExportError
from fomm.face import face_mesh
from fomm.face.search import find_faces
from fomm.marks import Marker, Origin, inspect_file, read_mark
from fomm.media import VideoReader, read_image, save_video, write_image
from fomm.media.ffmpeg import find_executable
from fomm.media.resize import cut_out

pytestmark = pytest.mark.slow
HOPPER = bundled("examples", "grace_hopper.jpg")
PATIENCE = 600.0  # seconds; other work may share the machine
DIGITS = WEIGHTS["heads-256.safetensors"][:6]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Give the npm package as a file; None where fomm has it, or can download it, by itself."""
    try:
        read_runtime()
    except ExportError as reason:
        folder = tmp_path_factory.mktemp("npm")
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip(f"npm's registry cannot be reached: {reason}")
        command = [npm, "pack", "--silent", f"onnxruntime-web@{VERSION}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        if done.returncode:
            pytest.skip(f"npm's registry cannot be reached: {done.stderr.strip()[-200:]}")
        return folder / FILE
    return None


@pytest.fixture(scope="module")
def networks():
    return load_checkpoints(cpu=True)


@pytest.fixture(scope="module")
def folder(package, networks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write_page(folder, *networks, runtime=package)
    return folder


class Server:
    """Serves a folder as ``python -m http.server`` does, and counts what it is asked for."""

    def __init__(self, folder):
        asked = self.asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):
                asked.append(self.path)

        handler = functools.partial(Handler, directory=str(folder))
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(scope="module")
def server(folder):
    server = Server(folder)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Give a film for a camera: the bundled clip."""
    film = tmp_path_factory.mktemp("film") / "face.y4m"
    clip = bundled("examples", "driving.mp4")
    command = [find_executable(), "-v", "error", "-i", clip, "-an", "-pix_fmt", "yuv420p", film]
    subprocess.run(command, check=True)
    return film


@pytest.fixture(scope="module")
def browser(film):
    camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with start_chromium() as start:
        browser = start(*camera, f"--use-file-for-fake-video-capture={film}")
        yield browser
        browser.close()


SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(params=["desktop"])
def page(server, browser, request):
    """Give the page, open; at the end it has asked no other host for anything, and said nothing is wrong."""
    width, height = SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, permissions=["camera"])
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    foreign, wrong = [], []
    own = (server.url, "data:", "blob:")
    context.on("request", lambda asked: None if asked.url.startswith(own) else foreign.append(asked.url))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(server.url)
    page.wait_for_selector("body[data-engine]")
    yield page
    context.close()
    assert not foreign and not wrong


on_both_screens = pytest.mark.parametrize("page", list(SIZES), indirect=True)


def wait(page, expression, argument=None):
    """Wait until an expression of the page is true; the page itself forbids that strings are run."""
    end = time.monotonic() + PATIENCE
    while not (value := page.evaluate(expression, argument)):
        problem = page.inner_text("#problem")
        assert not problem and time.monotonic() < end, problem or f"waited for {expression} in vain"
        time.sleep(0.1)
    return value


def meet(page):
    page.check("#consent input")
    page.click("#hopper")
    wait(page, "() => /Painted/.test(document.querySelector('#status').textContent)")


def read_canvas(page):
    """Return what is shown, HxWx3."""
    pixels = page.evaluate(
        """() => {
            const canvas = document.querySelector("#picture"), {width, height} = canvas;
            const data = canvas.getContext("2d").getImageData(0, 0, width, height);
            return [width, height, Array.from(data.data)];
        }"""
    )
    return np.array(pixels[2], np.uint8).reshape(pixels[1], pixels[0], 4)[..., :3]


def pack(picture):
    """Return a picture, HxWx3 uint8, as ``unpack`` in the page takes it."""
    alpha = np.full((*picture.shape[:2], 1), 255, np.uint8)
    data = base64.b64encode(np.concatenate([picture, alpha], 2).tobytes()).decode()
    return {"width": picture.shape[1], "height": picture.shape[0], "base64": data}


def unpack(packed):
    data = np.frombuffer(base64.b64decode(packed["base64"]), np.uint8)
    return data.reshape(packed["height"], packed["width"], 4)[..., :3]


# Functions that the scripts below begin with: pictures go to and fro as base64.
TOOLS = """
const unpack = ({width, height, base64}) =>
    ({width, height, data: Uint8ClampedArray.from(atob(base64), (sign) => sign.charCodeAt(0))});
const pack = ({width, height, data}) => {
    let text = "";
    for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
    return {width, height, base64: btoa(text)};
};
"""


def evaluate(page, script, argument):
    return page.evaluate(f"async (given) => {{ {TOOLS} {script} }}", argument)


# --- what the modules compute, against fomm ---------------------------------------------------------------


@pytest.mark.parametrize("box", [(30.2, -40.7, 240.9, 170.0), (-300.0, -20.0, 500.0, 780.0), (8, 8, 40, 40)])
def test_a_square_is_cut_out_as_fomm_does(page, box):
    photo = read_image(HOPPER)
    script = """const {cutOut} = await import("./pictures.js");
        return pack(cutOut(unpack(given.photo), given.box, 256, 256));"""
    cut = unpack(evaluate(page, script, {"photo": pack(photo), "box": box}))
    assert np.abs(cut.astype(int) - cut_out(photo, box, (256, 256))).max() <= 1


@pytest.mark.parametrize("name", ["grace_hopper.jpg", "group.jpg"])
def test_faces_are_those_of_fomm(page, name):
    photo = read_image(bundled("examples", name))
    script = """const {Networks} = await import("./networks.js"), {FaceFinder} = await import("./faces.js");
        const finder = new FaceFinder(await Networks.open(() => {}, "wasm")), photo = unpack(given);
        const faces = await finder.find(photo, true), meshes = [];
        for (const face of faces) meshes.push(Array.from((await finder.mesh(photo, face)).points));
        return {faces, meshes};"""
    got = evaluate(page, script, pack(photo))
    order = np.argsort([face["box"][0] for face in got["faces"]])
    expected = find_faces(photo, confirm=True)
    assert len(order) == len(expected)
    for number, face in zip(order, expected, strict=True):
        found = got["faces"][number]
        assert np.abs(np.array(found["box"]) - face.box).max() < 0.02 * (face.box[2] - face.box[0])
        points = np.array(got["meshes"][number]).reshape(478, 3)
        assert np.abs(points - face_mesh(photo, face).points).max() < 0.02 * (face.box[2] - face.box[0])


@pytest.mark.parametrize("name", ["grace_hopper.jpg", "astronaut.png", "group.jpg"])
def test_the_mark_is_that_of_fomm(page, name):
    photo = read_image(bundled("examples", name))
    script = """const {Marker} = await import("./mark.js"), photo = unpack(given);
        new Marker(await (await fetch("constants.json")).json(), "0123abcd").mark(photo);
        return pack(photo);"""
    marked = unpack(evaluate(page, script, pack(photo)))
    origin = Origin(DIGITS, "0123abcd")
    difference = np.abs(marked.astype(int) - Marker(origin)(photo))
    print(f"{name}: {difference.max()} levels at most, in {np.mean(difference > 0):.2%} of the pixels")
    assert difference.max() <= 1 and np.mean(difference > 0) < 0.01
    reading = read_mark([marked])
    assert reading is not None and reading.origin == origin


# --- the worker, against animate_frames -------------------------------------------------------------------

WORKER = """
    const worker = new Worker("studio.js", {type: "module"});
    let last = 0;
    const ask = (action, values = {}) => new Promise((done, fail) => {
        const id = ++last;
        const listen = ({data}) => {
            if (data.id !== id || data.share !== undefined) return;
            worker.removeEventListener("message", listen);
            data.error === undefined ? done(data.answer) : fail(new Error(data.error));
        };
        worker.addEventListener("message", listen);
        worker.postMessage({id, action, values});
    });
    const edit = {yaw: 0, pitch: 0, roll: 0, mouth: 0, eyes: 1, smile: 0, brows: 0};
    const settings = {edit, strength: {pose: 1, mouth: 1, eyes: 1, brows: 1}};
    const {engine, threads} = await ask("open", {engine: "wasm"});
    const {square} = await ask("meet", {picture: unpack(given.photo)});
"""


def test_a_clip_moves_the_photo_as_fomm_does(page, networks):
    photo = read_image(HOPPER)
    with VideoReader(bundled("examples", "driving.mp4")) as reader:
        clip = list(reader)[::7]
    script = """
        const clip = given.clip.map(unpack), count = clip.length;
        for (let number = 0; number < count; number += 3)
            await ask("look", {picture: clip[number], number, fps: 5});
        await ask("choose", {count});
        for (let number = 0; number < count; number++) await ask("measure", {picture: clip[number], number});
        await ask("know");
        await ask("begin", {live: false});
        const frames = [], started = performance.now();
        for (let number = 0; number < count; number++)
            frames.push((await ask("play", {number, settings})).frame);
        return {engine, threads, seconds: (performance.now() - started) / 1000, frames: frames.map(pack)};"""
    got = evaluate(page, WORKER + script, {"photo": pack(photo), "clip": [pack(frame) for frame in clip]})
    frames = [unpack(frame) for frame in got["frames"]]
    expected = list(animate_frames(photo, clip, *networks, fps=5))
    reading = read_mark(frames)
    assert reading is not None and reading.origin.weights == DIGITS
    marker = Marker(reading.origin)
    shown = np.stack(frames)[:, :-30].astype(int)  # without the rows of the word
    wanted = np.stack([marker(frame) for frame in expected])[:, :-30]
    difference = np.abs(shown - wanted)
    moved = np.abs(wanted - np.stack([wanted[0]] * len(wanted)).astype(int)).mean()
    rate, far = len(clip) / got["seconds"], np.mean(difference > 4)
    print(f"{got['engine']}, {got['threads']} threads: {rate:.2f} frames a second")
    print(f"off from torch by {difference.max()} levels at most, {difference.mean():.3f} in the mean,")
    print(f"by more than 4 levels in {far:.3%}; the photo itself moves by {moved:.2f} in the mean")
    assert difference.mean(axis=(1, 2, 3)).max() < 2
    assert moved > 2 * difference.mean()


# --- the page as people use it ----------------------------------------------------------------------------


@on_both_screens
def test_sliders_change_the_photo_and_the_picture_is_saved(page, tmp_path):
    meet(page)
    before = read_canvas(page)
    slider = page.locator("#edits input[name=yaw]")
    slider.focus()
    slider.press("End")
    wait(page, "() => document.querySelector('#edits output').textContent === '45'")
    end = time.monotonic() + PATIENCE
    while np.abs(read_canvas(page).astype(int) - before).mean() < 1:
        assert time.monotonic() < end, "the photo did not turn"
        time.sleep(0.2)
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "r.png")
    found = inspect_file(tmp_path / "r.png")
    assert found.mark is not None and found.mark.origin.weights == DIGITS
    assert read_image(tmp_path / "r.png").shape == read_image(HOPPER).shape
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")


def test_a_clip_becomes_a_video(page, tmp_path):
    with VideoReader(bundled("examples", "driving.mp4")) as reader:
        save_video(tmp_path / "clip.mp4", list(reader)[60:72:2], fps=12.5)
    meet(page)
    page.click("#by-clip")
    page.set_input_files("#clip", str(tmp_path / "clip.mp4"))
    wait(page, "() => /6 frames, 12.50 a second/.test(document.querySelector('#clip-name').textContent)")
    page.click("#make")
    wait(page, "() => /^Done: 6 frames/.test(document.querySelector('#status').textContent)")
    print(page.inner_text("#status"), page.inner_text("#engine"))
    with page.expect_download() as download:
        page.click("#video")
    download.value.save_as(tmp_path / "r.webm")
    with VideoReader(tmp_path / "r.webm") as result:
        frames = list(result)
        assert (len(frames), round(result.fps, 2)) == (6, 12.5)
    assert np.abs(frames[-1].astype(int) - frames[0]).mean() > 1
    found = inspect_file(tmp_path / "r.webm")
    assert found.mark is not None and found.mark.origin.weights == DIGITS
    assert "AI-generated" in found.comment
    page.wait_for_selector("#playback")
    wait(page, "() => document.querySelector('#playback').duration > 0.4")


def test_work_is_cancelled(page):
    meet(page)
    page.click("#by-clip")
    page.click("#sample")
    wait(page, "() => /175 frames/.test(document.querySelector('#clip-name').textContent)")
    page.click("#make")
    page.click("#cancel")
    wait(page, "() => document.querySelector('#status').textContent === 'Cancelled.'")
    wait(page, "() => !document.querySelector('#make').disabled")
    assert not page.is_visible("#video")


def test_the_camera_moves_the_photo_and_is_recorded(page, tmp_path):
    meet(page)
    page.click("#by-camera")
    page.click("#start")
    wait(page, "() => /^[0-9.]+ frames a second$/.test(document.querySelector('#status').textContent)")
    page.click("#record")
    wait(page, "() => / recording/.test(document.querySelector('#status').textContent)")
    before = page.inner_text("#status")
    wait(page, "before => document.querySelector('#status').textContent !== before", before)
    page.click("#record")
    page.wait_for_selector("#video")
    with page.expect_download() as download:
        page.click("#video")
    download.value.save_as(tmp_path / "r.webm")
    page.click("#start")
    wait(page, "() => document.querySelector('#start').textContent === 'Start'")
    found = inspect_file(tmp_path / "r.webm")
    assert found.mark is not None and found.mark.origin.weights == DIGITS


def test_a_photo_is_taken_by_camera(page):
    page.check("#consent input")
    page.click("#take")
    page.click("#shoot")
    wait(page, "() => /Painted/.test(document.querySelector('#status').textContent)")
    assert not page.is_visible("#viewfinder")
    assert read_canvas(page).shape == (256, 256, 3)


def test_bad_files_are_refused_in_one_sentence(page, tmp_path):
    page.check("#consent input")
    (tmp_path / "cat.jpg").write_text("this is no picture")
    write_image(tmp_path / "plain.png", np.full((300, 300, 3), 200, np.uint8))
    (tmp_path / "talk.mp4").write_text("this is no video")
    page.set_input_files("#photo", str(tmp_path / "cat.jpg"))
    page.wait_for_selector(
        "text=cat.jpg is not a picture that this browser can read. Give a JPEG or PNG file."
    )
    page.set_input_files("#photo", str(tmp_path / "plain.png"))
    page.wait_for_selector("text=No face was found in the photo. Give one that shows a face well.")
    page.click("#by-clip")
    page.set_input_files("#clip", str(tmp_path / "talk.mp4"))
    page.wait_for_selector("text=talk.mp4 is no video that this browser can play. Give an MP4 or WebM file.")
    assert page.is_disabled("#make") and page.is_disabled("#save")


def test_nothing_is_done_without_consent(page):
    assert page.evaluate("() => document.querySelector('main').inert")
    page.check("#consent input")
    assert not page.evaluate("() => document.querySelector('main').inert")


def test_page_and_worker_can_reach_no_other_host(server, browser, folder, tmp_path):
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(server.url)
    page.wait_for_selector("body[data-engine]")
    (tmp_path / "spy.js").write_text("")
    other = Server(tmp_path)
    script = "fetch(`${given}spy.js`).then(() => 'reached', () => 'refused')"
    assert evaluate(page, f"return {script};", other.url) == "refused"
    (folder / "spy.js").write_text(f"onmessage = async ({{data: given}}) => postMessage(await {script});")
    worker = """return new Promise((done) => {
        const worker = new Worker("spy.js");
        worker.onmessage = ({data}) => done(data);
        worker.postMessage(given);
    });"""
    assert evaluate(page, worker, other.url) == "refused"
    (folder / "spy.js").unlink()
    other.stop()
    assert not other.asked
    page.context.close()


def test_after_the_first_visit_no_server_is_needed(browser, folder):
    server = Server(folder)
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(server.url)
    page.wait_for_selector("body[data-engine]")
    assert page.evaluate("() => crossOriginIsolated")  # the service worker's headers; the server has none
    server.stop()
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector("body[data-engine]")
    page.check("#consent input")
    page.set_input_files("#photo", str(HOPPER))
    wait(page, "() => /Painted/.test(document.querySelector('#status').textContent)")
    page.context.close()
