"""A live session without a camera: from a file, from made-up frames, and with a clock that the tests turn."""

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from golden_data import EXPECTED, GOLDEN, TINY_OPTIONS
from golden_data import assert_near as assert_near_exactly

from fomm import Animator, InputError, MediaError
from fomm.animation.frames import to_uint8
from fomm.animation.options import EXACT, Framing
from fomm.animation.photo import MovedPhoto
from fomm.bundled import bundled
from fomm.cli import main
from fomm.errors import MissingExtraError
from fomm.live import Live, camera, run
from fomm.live.camera import Newest, Reader, Source, camera_source, stream_source
from fomm.live.screens import Recording, Screen, Status, VirtualCamera, title
from fomm.live.window import Window, fitted
from fomm.media import VideoReader, VideoWriter, save_video, write_image
from fomm.media.resize import resize

pytestmark = pytest.mark.smoke

FRAMES = [to_uint8(frame) for frame in EXPECTED["driving"]]
WHOLE = Framing(crop="none")
NOTHING = Status(0, 0, 0.0, 0.0, waiting=False)


@pytest.fixture
def live(tiny):
    session = Live(*tiny, framing=WHOLE, compute=EXACT)
    session.set_source(EXPECTED["source"])
    return session


def assert_near(got, wanted, tolerance, what):
    """Bytes as numbers that may be subtracted."""
    assert_near_exactly(np.asarray(got).astype(float), np.asarray(wanted).astype(float), tolerance, what)


class Seen(Screen):
    """Keeps what is shown, and wishes for what it was told to after so many pictures."""

    def __init__(self, wishes: dict[int, str] | None = None) -> None:
        self.pictures: list[np.ndarray] = []
        self.states: list[Status] = []
        self.wishes = wishes or {}

    def show(self, picture, status):
        self.pictures.append(picture)
        self.states.append(status)

    def wish(self):
        return self.wishes.pop(len(self.pictures), None)


def one_by_one(frames, taken: threading.Semaphore):
    """Each frame after the one before was taken, so that none is dropped."""
    for frame in frames:
        taken.acquire()
        yield frame


class Patient(Newest):
    """Gives every frame, however slow its taker is."""

    def __init__(self, frames, clock=time.monotonic) -> None:
        self.turn = threading.Semaphore(1)
        super().__init__(one_by_one(frames, self.turn), clock)

    def take(self, timeout):
        seen = super().take(timeout)
        if seen is not None:
            self.turn.release()
        return seen


# -- the photo, moved frame by frame ---------------------------------------------------------------


def test_it_moves_the_photo_as_make_animation_does(tiny, live):
    wanted = list(Animator(EXPECTED["source"], *tiny).animate(FRAMES))
    for frame, picture in zip(FRAMES, wanted, strict=True):
        assert_near(live.step(frame), to_uint8(picture), 1, "a live frame")


def test_reset_begins_anew(tiny, live):
    live.step(FRAMES[0])
    moved = live.step(FRAMES[2])
    live.reset()
    assert live.waiting
    first = live.step(FRAMES[2])  # where relative motion starts: nothing has moved yet
    assert not live.waiting and np.abs(first.astype(int) - moved).max() > 3
    (wanted,) = Animator(EXPECTED["source"], *tiny).animate([FRAMES[2]])
    assert_near(first, to_uint8(wanted), 1, "the first frame after a reset")


def test_another_photo_goes_on_with_the_same_motion(tiny, live):
    live.step(FRAMES[0])
    other = np.ascontiguousarray(EXPECTED["source"][:, ::-1])
    with pytest.raises(InputError):
        live.set_source(np.zeros((5, 5), np.uint8))
    live.set_source(other)
    wanted = list(Animator(other, *tiny).animate(FRAMES[:2]))[1]
    assert_near(live.step(FRAMES[1]), to_uint8(wanted), 1, "a frame of another photo")


def test_there_has_to_be_a_photo(tiny):
    with pytest.raises(InputError, match="set_source"):
        Live(*tiny, framing=WHOLE, compute=EXACT).step(FRAMES[0])


def test_the_photo_rests_until_there_is_a_face(tiny, portraits):
    session, (photo, driving) = Live(*tiny), portraits
    wall = np.full((120, 160, 3), 90, np.uint8)
    session.set_source(bundled("examples", "astronaut.png"))
    rest = session.step(wall, 0.0)
    assert session.waiting and (rest == photo).all()
    assert session.step(driving, 1.0).shape == photo.shape and not session.waiting
    moved = session.step(np.roll(driving, 6, axis=1), 2.0)
    assert moved.shape == photo.shape and (moved != photo).any()
    held = session.step(wall, 2.2)
    assert (held == moved).all() and not session.waiting
    session.step(wall, 3.0)
    assert (session.step(wall, 4.0) == photo).all() and session.waiting


def test_no_part_without_the_whole(tiny):
    with pytest.raises(InputError, match="paste_back"):
        Live(*tiny, framing=Framing(face="all", paste_back=False))


def play(frames, rate: float):
    """Give the frames as a camera does, whoever is ready."""
    for frame in frames:
        yield frame
        time.sleep(1 / rate)


def test_a_large_photo_shrinks_to_what_keeps_up(tiny, portraits):
    """Of a second before a camera, the whole photo shows far fewer frames than the fitted one."""
    large, shown = resize(portraits[0], (3584, 3584)), {}
    for rate in (None, 25.0):
        session, screen = Live(*tiny, rate=rate), Seen()
        with warnings.catch_warnings(record=True) as told:
            session.set_source(large)
        session.step(portraits[1])
        with Newest(play(portraits[::-1] * 13, 25.0)) as frames:
            shown[rate] = run(session, frames, [screen]).shown
        height, width = screen.pictures[0].shape[:2]
        said = [str(warning.message) for warning in told]
        if rate is None:
            assert not said and (height, width) == (3584, 3584)
        else:
            assert len(said) == 1 and max(height, width) < 1800
            assert f"is shown at {width}x{height} pixels in place of its 3584x3584: more" in said[0]
    assert shown[None] < 0.6 * shown[25.0], f"frames shown of the whole photo and the fitted: {shown}"


def test_a_size_is_pasted_at_that_size(tiny, portraits):
    """Nearly the same comes out as by pasting at the photo's size and shrinking each frame."""
    group = np.concatenate(portraits, axis=1)
    sessions = [Live(*tiny, compute=EXACT, framing=Framing(face="all", size=size)) for size in (256, None)]
    for session in sessions:
        session.set_source(group)
        session.step(portraits[0])
    small, whole = (session.step(portraits[1]) for session in sessions)
    assert small.shape == (128, 256, 3)
    error = np.abs(small.astype(float) - resize(whole, (128, 256)))
    assert error.mean() < 1.5, f"{error.mean():.2f} levels on average"
    assert np.abs(small.astype(float) - resize(group, (128, 256))).mean() > 3  # it has moved


@pytest.mark.parametrize("rate", [0.0, -25.0, float("nan")])
def test_a_rate_is_above_zero(tiny, rate):
    with pytest.raises(InputError, match=r"rate is .*expected frames a second"):
        Live(*tiny, rate=rate)


# -- the newest frame wins -------------------------------------------------------------------------


def test_what_comes_meanwhile_is_dropped():
    drawn, go_on = threading.Event(), threading.Event()

    def frames():
        yield FRAMES[0]
        go_on.wait(10)
        yield from FRAMES[1:]
        drawn.set()

    with Newest(frames(), clock=itertools.count().__next__) as newest:
        first = newest.take(10)
        assert first.frame is FRAMES[0] and first.time == 0 and newest.take(0.01) is None
        go_on.set()
        assert drawn.wait(10)
        assert newest.take(10).frame is FRAMES[-1]
        assert newest.dropped == len(FRAMES) - 2
        assert newest.take(10) is None and newest.over


def test_an_error_comes_after_the_last_frame():
    def frames():
        yield FRAMES[0]
        raise MediaError("the camera is gone")

    with Newest(frames()) as newest:
        time.sleep(0.05)
        assert newest.take(10).frame is FRAMES[0]
        assert not newest.over
        with pytest.raises(MediaError, match="is gone"):
            newest.take(10)


def test_leaving_ends_what_draws():
    class Endless:
        stopped = closed = False

        def __iter__(self):
            while not self.stopped:
                time.sleep(0.001)
                yield FRAMES[0]

        def stop(self):
            self.stopped = True

        def close(self):
            self.closed = True

    frames, before = Endless(), threading.active_count()
    with pytest.raises(KeyboardInterrupt), Newest(frames) as newest:
        assert newest.take(10) is not None
        raise KeyboardInterrupt
    assert frames.stopped and frames.closed and threading.active_count() == before


# -- the session -----------------------------------------------------------------------------------


def test_a_session_shows_every_result_and_counts(live):
    screen, other = Seen(), Seen()
    with Patient(FRAMES) as frames:
        summary = run(live, frames, [screen, other])
    assert len(screen.pictures) == len(other.pictures) == summary.shown == len(FRAMES)
    assert summary.dropped == 0 and 0 < summary.median <= summary.slow and summary.rate > 0
    assert [status.shown for status in screen.states] == list(range(len(FRAMES)))
    assert f"{len(FRAMES)} frames shown, 0 dropped" in str(summary)


def test_rate_and_latency_are_of_the_clock(live):
    """A frame comes at 0, 1, 2, ... seconds and is shown at 0.25, 1.25, ..."""
    moments = iter(sorted([*range(8), *(number + 0.25 for number in range(8))]))
    lock = threading.Lock()

    def clock():
        with lock:
            return next(moments)

    screen = Seen()

    def frames():
        for number, frame in enumerate(itertools.islice(itertools.cycle(FRAMES), 8)):
            while number and len(screen.states) < number:
                time.sleep(0.001)
            time.sleep(0.01)  # until the one before was counted
            yield frame

    with Patient(frames(), clock) as newest:
        summary = run(live, newest, [screen], clock=clock)
    assert summary.shown == 8 and summary.rate == pytest.approx(1)
    assert summary.median == pytest.approx(0.25) and summary.slow == pytest.approx(0.25)
    last = screen.states[-1]
    assert last.latency == pytest.approx(0.25) and last.rate == pytest.approx(1)


@pytest.mark.parametrize("threads", [1, 2])
def test_wishes_are_followed(live, set_threads, threads):
    set_threads(threads)
    screen = Seen({2: "reset", 4: "quit"})
    with Patient([FRAMES[0], *[FRAMES[2]] * 3, FRAMES[1]]) as frames:  # the third may be at work before
        summary = run(live, frames, [screen])
    assert summary.shown == 4
    rest, moved, _, again = (picture.astype(int) for picture in screen.pictures)
    assert np.abs(moved - rest).max() > 3 and np.abs(again - rest).mean() < np.abs(moved - rest).mean()


@pytest.mark.parametrize("threads", [1, 2])
def test_two_frames_are_worked_on_at_a_time_where_threads_can_be_shared_out(
    live, monkeypatch, set_threads, threads
):
    """The results are those of one frame after the other, in order."""
    set_threads(threads)
    wanted = [live.step(frame) for frame in FRAMES[:4]]
    live.reset()
    show, met, places = MovedPhoto.show, threading.Barrier(threads), []

    def show_beside(photo, points):
        met.wait(10)  # for the other one at work: the number of frames is even
        places.append(threading.current_thread())
        return show(photo, points)

    monkeypatch.setattr(MovedPhoto, "show", show_beside)
    screen = Seen()
    with Patient(FRAMES[:4]) as frames:
        assert run(live, frames, [screen]).shown == 4
    assert len(set(places)) == threads and threading.main_thread() not in places
    for picture, alone in zip(screen.pictures, wanted, strict=True):
        assert_near(picture, alone, 1, "a frame beside another")


def test_frames_without_a_face_are_an_error_at_the_end(tiny):
    session = Live(*tiny, framing=Framing(crop="none", crop_driving="auto"))
    session.set_source(EXPECTED["source"])
    walls = [np.full((64, 64, 3), 90, np.uint8)] * 3
    words = r"clip\.mp4: no face was found; .* --driver keypoints --crop-driving none"
    with Patient(walls) as frames, pytest.raises(InputError, match=words):
        run(session, frames, [Seen()], name="clip.mp4")


def test_a_face_that_was_seen_before_a_reset_was_seen(tiny, portraits):
    session = Live(*tiny, framing=Framing(crop="none", crop_driving="auto"))
    session.set_source(EXPECTED["source"])
    with Patient([portraits[0], np.full((64, 64, 3), 90, np.uint8)]) as frames:
        assert run(session, frames, [Seen({1: "reset"})]).shown == 2
    assert session.waiting


def test_a_camera_that_is_unplugged_ends_the_session_with_what_was_shown(live):
    def frames():
        yield from FRAMES[:2]
        raise MediaError("the camera is gone")

    with Patient(frames()) as newest:
        summary = run(live, newest, [Seen()])
    assert summary.shown == 2 and "is gone" in str(summary.error)


CTRL_C = """
import itertools, signal, sys
import numpy as np
from fomm import load_checkpoints
from fomm.live.camera import Newest
from fomm.animation.options import Framing
from fomm.live import Live, run
from fomm.live.screens import Screen

class Interrupting(Screen):
    shown = 0
    def show(self, picture, status):
        self.shown += 1
        if self.shown == 3:
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts the tests may ignore it
golden = sys.argv[1]
networks = load_checkpoints(golden + "/tiny.yaml", golden + "/tiny-cpk.pth.tar", cpu=True)
live, screen = Live(*networks, framing=Framing(crop="none")), Interrupting()
expected = np.load(golden + "/tiny-expected.npz")
live.set_source(expected["source"])
with Newest(itertools.cycle(expected["driving"])) as frames:
    summary = run(live, frames, [screen])
assert summary.shown == screen.shown == 3
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
print("ended")
"""


def test_ctrl_c_ends_after_the_frame_at_work():
    """In a process of its own, with no other engines in it that the tests before have loaded."""
    command = [sys.executable, "-c", CTRL_C, str(GOLDEN)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stdout == "ended\n", done.stderr


# -- where frames come from ------------------------------------------------------------------------


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "driving.mp4"
    save_video(path, FRAMES * 3, 20)
    return path


def test_a_file_comes_at_its_own_rate(clip):
    source = stream_source(str(clip))
    assert source.rate == 20
    reader, times = Reader(source), []
    for frame in reader:
        times.append(time.monotonic())
        assert frame.shape == FRAMES[0].shape and frame.dtype == np.uint8
    reader.close()
    count = 3 * len(FRAMES)
    assert len(times) == count and times[-1] - times[0] > 0.7 * (count - 1) / 20


def test_large_frames_are_shrunk(tmp_path):
    save_video(tmp_path / "large.mp4", [np.full((1080, 1920, 3), 200, np.uint8)] * 2, 25)
    reader = Reader(stream_source(str(tmp_path / "large.mp4")))
    shapes = [frame.shape for frame in reader]
    reader.close()
    assert shapes == [(720, 1280, 3)] * 2


def test_a_source_that_fails_says_why():
    for source, words in (
        (Source("camera 7", ["-f", "lavfi", "-i", "nosuchfilter"]), "camera 7 gave no frame: .*[Ff]ilter"),
        (stream_source("tcp://127.0.0.1:9"), r"tcp://127\.0\.0\.1:9 gave no frame: .*refused"),
    ):
        reader = Reader(source)
        with pytest.raises(MediaError, match=words):
            list(reader)
        reader.close()


def test_an_endless_source_is_stopped():
    before = set(threading.enumerate())
    with Newest(Reader(Source("a pattern", ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=200"]))) as newest:
        assert newest.take(10).frame.shape == (48, 64, 3)
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize(
    ("text", "options", "error", "words"),
    [
        ("nothing.mp4", {}, MediaError, "nothing.mp4"),
        ("text.txt", {}, MediaError, "text.txt"),
        ("driving.mp4", {"form": "lavfi"}, InputError, "is a file"),
        ("driving.mp4", {"rate": 5.0}, InputError, "is a file"),
        ("tcp://host", {"size": "big"}, InputError, "'big'"),
        ("tcp://host", {"rate": 0.0}, InputError, "rate of a camera is 0"),
    ],
)
def test_bad_sources(text, options, error, words, clip, monkeypatch):
    monkeypatch.chdir(clip.parent)
    Path("text.txt").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    with pytest.raises(error, match=words):
        stream_source(text, **options)


def test_an_address_never_leads_to_files(clip):
    """Neither a scheme nor a list behind it opens a file of this machine."""
    for address in (
        f"file://{clip}",
        f"concat://{clip}",
        f"concat:{clip}|://",
        f"subfile:,,start,0://{clip}",
    ):
        reader = Reader(stream_source(address))
        with pytest.raises(MediaError, match="gave no frame"):
            list(reader)
        reader.close()


def test_cameras_of_linux(tmp_path, monkeypatch):
    for number, name in enumerate(("Front Camera\n", "Microscope\n")):
        (tmp_path / f"video{number}").mkdir()
        (tmp_path / f"video{number}" / "name").write_text(name)
    monkeypatch.setattr(camera, "LINUX_CAMERAS", tmp_path)
    there = {"/dev/video0", "/dev/video1"}
    monkeypatch.setattr(os.path, "exists", lambda path: str(path) in there)
    for asked, device in (("0", "/dev/video0"), ("micro", "/dev/video1"), ("/dev/video1", "/dev/video1")):
        source = camera_source(asked, size="640x480", rate=15, platform="linux")
        words = " ".join(source.arguments)
        assert f"-f v4l2 -video_size 640x480 -framerate 15 -i {device}" in words and source.rate is None
    for asked in ("2", "telescope", "/dev/video7"):
        with pytest.raises(InputError, match=r"found: /dev/video0 \(Front Camera\), .*--input"):
            camera_source(asked, platform="linux")


def test_cameras_of_other_systems(monkeypatch):
    listed = '[dshow @ 1] "Integrated Camera" (video)\n[dshow @ 1]   Alternative\n[dshow @ 1] "Mic" (audio)\n'
    monkeypatch.setattr(camera, "run", lambda arguments: (1, "", listed))
    assert camera_source("0", platform="win32").arguments[-1] == "video=Integrated Camera"
    assert camera_source("USB", platform="win32").arguments[-1] == "video=USB"
    with pytest.raises(InputError, match="found, from 0: Integrated Camera;"):
        camera_source("1", platform="win32")
    apple = camera_source("0", platform="darwin").arguments
    assert apple[-1] == "0:none" and apple[apple.index("-framerate") + 1] == "30"
    with pytest.raises(InputError, match="plan9"):
        camera_source(platform="plan9")


# -- where results go ------------------------------------------------------------------------------


def test_a_recording_lasts_as_long_as_the_session(tmp_path):
    """Results at 0, 0.5 and 0.6 seconds, and the end at 1: ten frames a second show each as long."""
    now = [100.0]
    with (
        VideoWriter(tmp_path / "out.mp4", fps=10) as writer,
        Recording(writer, 10, clock=lambda: now[0]) as recording,
    ):
        for moment, level in ((0.0, 40), (0.5, 120), (0.6, 200)):
            now[0] = 100 + moment
            recording.show(np.full((32, 32, 3), level, np.uint8), NOTHING)
        now[0] = 101.0
        assert recording.wish() is None
    with VideoReader(tmp_path / "out.mp4") as reader:
        levels = [int(frame.mean()) for frame in reader]
    assert_near(np.array(levels), np.array([40] * 5 + [120] + [200] * 5), 3, "levels over time")


def test_a_writer_that_is_too_slow_does_not_hold_up_the_session():
    """Ten frames a second are due, and each takes a second to write."""
    now, written = [0.0], []

    class Slow:
        def write(self, picture):
            now[0] += 1.0
            written.append(picture)

    recording = Recording(Slow(), 10, clock=lambda: now[0])
    recording.show(FRAMES[0], NOTHING)
    for _ in range(5):
        now[0] += 0.3
        recording.wish()
    assert len(written) == 15 and now[0] == pytest.approx(5 * 0.3 + 15)


def test_a_recording_of_nothing_is_no_file(tmp_path):
    out = tmp_path / "out.mp4"
    with pytest.raises(MediaError), VideoWriter(out, fps=10) as writer, Recording(writer, 10):
        pass
    assert not list(tmp_path.iterdir())


def test_a_virtual_camera_gets_every_picture(tmp_path, monkeypatch):
    """The device is a file here, in a format that keeps every frame."""
    monkeypatch.setattr(VirtualCamera, "form", "yuv4mpegpipe")
    path = tmp_path / "device.y4m"
    with VirtualCamera(str(path)) as device:
        for level in (30, 90, 150):
            device.show(np.full((33, 35, 3), level, np.uint8), NOTHING)
    with VideoReader(path) as reader:
        frames = list(reader)
    assert [frame.shape for frame in frames] == [(32, 34, 3)] * 3
    assert_near(np.array([frame.mean() for frame in frames]), np.array([30, 90, 150]), 3, "levels")


def test_a_virtual_camera_that_is_none(tmp_path):
    with pytest.raises(MediaError, match=r"writing .* stopped after"), VirtualCamera(str(tmp_path)) as device:
        for _ in range(1000):
            device.show(np.zeros((32, 32, 3), np.uint8), NOTHING)
            time.sleep(0.01)


def test_the_title_tells_how_it_goes():
    assert title(Status(9, 1, 12.34, 0.0567, False)) == "fomm live: 12.3 frames a second, 57 ms late"
    assert "looking for a face" in title(Status(0, 0, 0.0, 0.0, True))


def test_results_fit_the_screen():
    assert fitted((128, 128), (1080, 1920)) == (512, 512)
    assert fitted((600, 800), (1080, 1920)) == (600, 800)
    height, width = fitted((3000, 4000), (1080, 1920))
    assert height <= 972 and width <= 1728 and abs(width / height - 4 / 3) < 0.01


def test_without_a_display_the_window_says_so(monkeypatch):
    tkinter = pytest.importorskip("tkinter", reason="this Python has no tkinter")

    def no_display(**_):
        raise tkinter.TclError("no display name")

    monkeypatch.setattr(tkinter, "Tk", no_display)
    with pytest.raises(InputError, match=r"no display name; .*--output"):
        Window("camera 0")
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(MissingExtraError, match=r"tkinter.*--output"):
        Window("camera 0")


WINDOW = """
import numpy as np
from fomm.live.screens import Status
from fomm.live.window import Window
with Window("a test") as window:
    window.show(np.full((40, 60, 3), 200, np.uint8), Status(3, 0, 10.0, 0.05, False))
    tk, (label,) = window.root.tk, window.root.winfo_children()
    image = str(label.cget("image"))
    assert tk.getint(tk.call("image", "width", image)) == 512
    assert tk.call(image, "get", 100, 100) == (200, 200, 200)
    assert "10.0 frames a second" in window.root.title()
    assert window.wish() is None
    for key in ("x", "r"):
        window.root.focus_force()
        window.root.update()
        window.root.event_generate("<Key>", keysym=key)
    assert window.wish() == "reset", "r"
    window.root.event_generate("<Key>", keysym="Escape")
    assert window.wish() == "quit"
print("shown")
"""


@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="needs Xvfb, a screen without a monitor")
def test_a_window_shows_results_and_takes_keys():
    command = ["xvfb-run", "-a", sys.executable, "-c", WINDOW]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stdout == "shown\n", done.stderr


# -- the command -----------------------------------------------------------------------------------


def test_the_command_from_file_to_file(files, capsys):
    result = files / "result.mp4"
    status = main(
        [
            "live",
            str(files / "photo.png"),
            "--input",
            str(files / "driving.mp4"),
            "-o",
            str(result),
            "--crop",
            "none",
            *TINY_OPTIONS,
        ]
    )
    captured = capsys.readouterr()
    assert status == 0 and "frames shown" in captured.out and captured.err == ""
    with VideoReader(result) as reader:
        assert reader.fps == 10 and len(list(reader)) >= 2
    assert {path.name for path in files.iterdir()} == {"photo.png", "driving.mp4", "result.mp4"}


def test_the_command_says_how_large_the_photo_is_shown(tmp_path, portraits, capsys):
    write_image(tmp_path / "large.jpg", resize(portraits[0], (3584, 3584)))
    save_video(tmp_path / "driving.mp4", np.stack([portraits[1]] * 4), 25)
    sizes = {}
    for options in ([], ["--size", "128"]):
        files = [str(tmp_path / name) for name in ("large.jpg", "driving.mp4", "result.mp4")]
        command = ["live", files[0], "--input", files[1], "-o", files[2], *options, *TINY_OPTIONS]
        assert main(command) == 0
        sizes[len(options)] = VideoReader(files[2]).size, capsys.readouterr().err
    (height, width), said = sizes[0]
    assert f"large.jpg is shown at {width}x{height} pixels" in said and said.count("\n") == 1
    assert sizes[2] == ((128, 128), "")


def test_the_command_says_who_drives(capsys):
    """The table of options has them; nothing is said of what makes no sense live."""
    assert main(["live", "--help"]) == 0
    words = capsys.readouterr().out
    assert all(option in words for option in ("--driver mesh|keypoints", "--shift SHARE", "--crop-driving"))
    assert "--best-frame" not in words


def test_the_command_explains_what_it_cannot_do(files, capsys):
    for options, words in (
        (["--input-format", "lavfi"], "--input-format"),
        (["--camera", "no such camera"], "there is no camera no such camera"),
        (["--input", str(files / "driving.mp4"), "-o", "/dev/video-none"], "no device /dev/video-none"),
    ):
        assert main(["live", str(files / "photo.png"), "--crop", "none", *options, *TINY_OPTIONS]) == 1
        assert words in capsys.readouterr().err
