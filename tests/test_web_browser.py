"""The page in a real browser: Chromium, driven by Playwright. Skipped where either is missing."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from fomm import load_checkpoints
from fomm.bundled import bundled
from fomm.media import VideoReader, read_image, save_video
from fomm.media.ffmpeg import find_executable

pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'fomm[web]'")

from chromium import start_chromium

from fomm.web import start_server

pytestmark = pytest.mark.slow
HOPPER = bundled("examples", "grace_hopper.jpg")
PATIENCE = 120_000  # milliseconds; other work may share the machine


@pytest.fixture(scope="module")
def server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with start_server(*load_checkpoints(cpu=True), port=port) as server:
        yield server


@pytest.fixture(scope="module")
def chromium():
    """Give a function that starts a browser; all end with the tests."""
    with start_chromium() as start:
        yield start


@pytest.fixture(scope="module")
def browser(chromium):
    browser = chromium()
    yield browser
    browser.close()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def page(server, browser, request):
    """Give the page, open; at the end it has asked no other host for anything, and said nothing is wrong."""
    context = browser.new_context(viewport={"width": request.param[0], "height": request.param[1]})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    foreign, wrong = [], []
    own = (server.url, "data:", "blob:")
    page.on("request", lambda asked: None if asked.url.startswith(own) else foreign.append(asked.url))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(server.url)
    page.wait_for_selector("#consent")
    yield page
    context.close()
    assert not foreign and not wrong


def give_photo(page, path):
    page.set_input_files("#photo input[type=file]", str(path))


def agree(page):
    page.check("#consent input")


def test_a_photo_is_animated_and_played(page, tmp_path):
    give_photo(page, HOPPER)
    page.wait_for_selector("#squares img")
    page.wait_for_selector("#still img")
    before = page.get_attribute("#still img", "src")
    number = page.locator("#mouth input[type=number]")
    number.fill("0")
    number.press("Enter")
    page.wait_for_function("before => document.querySelector('#still img').src != before", arg=before)
    page.click("#driver input")
    page.get_by_role("option", name="Motion: blink").click()
    agree(page)
    page.click("#animate")
    page.wait_for_function("/\\d+ of \\d+ frames · about \\d+ s left/.test(document.body.innerText)")
    page.wait_for_selector("#result video")
    assert "Done: " in page.inner_text("#progress")
    page.evaluate("document.querySelector('#result video').play()")
    page.wait_for_function("document.querySelector('#result video').currentTime > 0.2")
    words = page.inner_text("#command").replace("\n", " ")
    assert "fomm animate grace_hopper.jpg --motion blink" in words and "--strength=mouth=0" in words
    with page.expect_download() as download:
        page.locator("#result a[download]").click()
    download.value.save_as(tmp_path / "r.mp4")
    with VideoReader(tmp_path / "r.mp4") as reader:
        assert reader.size == (256, 256) and next(reader).any()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_photo_is_edited_and_downloaded(page, tmp_path):
    give_photo(page, HOPPER)
    agree(page)
    page.get_by_role("tab", name="Edit photo").click()
    page.wait_for_selector("#edited img")
    before = page.get_attribute("#edited img", "src")
    slider = page.locator("#edit-yaw input[type=range]")
    slider.focus()
    for _ in range(10):
        slider.press("ArrowRight")
    page.wait_for_function("before => document.querySelector('#edited img').src != before", arg=before)
    page.click("#edit")
    with page.expect_download() as download:
        page.locator("#edit-result a").first.click()
    download.value.save_as(tmp_path / "r.png")
    picture, photo = read_image(tmp_path / "r.png"), read_image(HOPPER)
    assert picture.shape == photo.shape and (picture != photo).any()


def test_text_named_as_a_picture_is_refused(page, tmp_path):
    path = tmp_path / "cat.jpg"
    path.write_text("this is no picture")
    give_photo(page, path)
    page.wait_for_selector("text=cat.jpg is not a picture")


def test_cancel_ends_a_job(page, server):
    give_photo(page, HOPPER)
    agree(page)
    page.wait_for_selector("#still img")
    page.click("#animate")
    page.wait_for_function("/of \\d+ frames/.test(document.body.innerText)")
    page.click("#cancel")
    page.wait_for_function("/Stopped: cancelled/.test(document.body.innerText)")
    assert not list(server.studio.folder.iterdir())
    assert page.is_enabled("#animate") and not page.is_visible("#result video")


def test_consent_is_asked_for_once(page):
    give_photo(page, HOPPER)
    page.wait_for_selector("#still img")
    page.click("#animate")
    page.wait_for_selector("text=first tick the sentence")
    agree(page)
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_function("document.querySelector('#consent input')?.checked")


def test_a_page_that_is_closed_ends_its_job(server, browser):
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    give_photo(page, HOPPER)
    page.wait_for_selector("#still img")
    agree(page)
    page.click("#animate")
    page.wait_for_function("/of \\d+ frames/.test(document.body.innerText)")
    assert list(server.studio.folder.iterdir())
    page.close()
    end = time.monotonic() + PATIENCE / 1000
    while list(server.studio.folder.iterdir()) and time.monotonic() < end:
        time.sleep(0.1)
    assert not list(server.studio.folder.iterdir())


def test_the_camera_gives_photo_and_video(server, chromium, tmp_path):
    """The camera shows the astronaut."""
    picture = read_image(bundled("examples", "astronaut.png"))
    save_video(tmp_path / "face.mp4", [picture] * 20, fps=20)
    film = tmp_path / "face.y4m"
    command = [find_executable(), "-v", "error", "-i", tmp_path / "face.mp4", "-pix_fmt", "yuv420p", film]
    subprocess.run(command, check=True)
    camera = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    browser = chromium(*camera, f"--use-file-for-fake-video-capture={film}")
    page = browser.new_context(permissions=["camera", "microphone"]).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    photo, video = page.locator("#photo"), page.locator("#video")
    photo.get_by_label("Capture from camera").click()
    photo.locator("button").filter(has_text=re.compile("access|webcam", re.I)).first.click()
    # on a busy machine the button is there before the camera's first picture
    page.wait_for_function("document.querySelector('#photo video')?.readyState > 2")
    photo.get_by_label("capture photo").click()
    page.wait_for_function("/\\d faces? found/.test(document.body.innerText)")
    page.wait_for_selector("#still img")
    page.click("#driver input")
    page.get_by_role("option", name="My video: a file, or my camera").click()
    before = page.get_attribute("#still img", "src")
    video.get_by_label("Capture from camera").click()
    video.locator("button").filter(has_text=re.compile("access|webcam", re.I)).first.click()
    video.get_by_text("Record", exact=True).click()
    video.get_by_text("Stop", exact=True).wait_for()
    page.wait_for_timeout(2000)
    video.get_by_text("Stop", exact=True).click()
    page.wait_for_function("before => document.querySelector('#still img')?.src != before", arg=before)
    assert "No preview" not in page.inner_text("#still")
    browser.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_its_files(number, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fomm", "web", "--port", str(port)]
    surroundings = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=surroundings) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"the page is at http://127.0.0.1:{port}/; Ctrl-C ends it\n"
        assert list(tmp_path.glob("fomm-web-*"))
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert not list(tmp_path.glob("fomm-web-*"))
