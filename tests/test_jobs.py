import csv
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from golden_data import TINY_FILES, TINY_OPTIONS

from fomm import InputError, MediaError, load_checkpoints
from fomm.animation.option_table import COLUMNS, EDITS, group_options
from fomm.cli import main
from fomm.commands.parser import build_parser
from fomm.jobs import Job, Result, animate_job, are_folders, folder_jobs, read_jobs, run, run_jobs
from fomm.media import VideoReader, read_image, save_video, write_image

NOISE = np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8)
LOAD = partial(load_checkpoints, *TINY_FILES, cpu=True)


@pytest.fixture
def files(tmp_path):
    """Two photos and two videos, of 3 and 5 frames, in folders."""
    for name in ("photos", "talks"):
        (tmp_path / name).mkdir()
    write_image(tmp_path / "photos" / "a.png", NOISE[:64, :64])
    write_image(tmp_path / "photos" / "b.jpg", NOISE[64:128, :64])
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    save_video(tmp_path / "talks" / "x.mp4", [NOISE[:64, :64]] * 3, 10)
    save_video(tmp_path / "talks" / "y.webm", [NOISE[:64, 64:128]] * 5, 10)
    return tmp_path


@pytest.fixture
def calls(monkeypatch):
    """Give what is animated only by name: the keywords of each call, and a file that says so."""
    made = []

    def pretend(source, driving, output, *networks, **options):
        made.append((source.name, driving.name, output.name, options))
        if source.name == "bad.png":
            raise MediaError(f"cannot read {source}: it is\nbad")
        if source.name == "bug.png":
            raise KeyError("a bug")
        output.write_text("made")

    monkeypatch.setattr(run, "animate_file", pretend)
    return made


def listed(folder: Path, *names: str, **options) -> list[Job]:
    return [Job(folder / name, folder / "d.mp4", folder / f"{name}.mp4", options) for name in names]


# -- lists ------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_a_list_says_what_the_command_line_says(tmp_path):
    (tmp_path / "jobs.csv").write_text(
        "\ufeffsource, driving,output,crop,face,relative,size,start,best-frame,side-by-side\n"
        'a.png,../d.mp4,out/1.mp4,"1,-2,30,40",all,no,64x48,1.5,auto,\n'
        ",,,,,,,,,\n"
        f"{tmp_path / 'b.png'},d,2.mp4,,,,,,,YES\n"
        "c.png,d,3.mp4\n",
        encoding="utf-8",
    )
    assert read_jobs(tmp_path / "jobs.csv") == [
        Job(tmp_path / "a.png", tmp_path / "../d.mp4", tmp_path / "out/1.mp4", {
            "crop": (1, -2, 30, 40), "face": "all", "relative": False, "size": (48, 64), "start": 1.5,
            "best_frame": "auto",
        }),
        Job(tmp_path / "b.png", tmp_path / "d", tmp_path / "2.mp4", {"side_by_side": True}),
        Job(tmp_path / "c.png", tmp_path / "d", tmp_path / "3.mp4"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: the column source is missing; each of source, driving, output is needed once"),
        ("source,output\na,b\n", "line 1: the column driving is missing"),
        ("source,driving,output,zoom\na,b,c,1\n", r"line 1: there is no column 'zoom'; known are source, "),
        ("source,driving,output,device\na,b,c,cpu\n", r"'device'; .*what holds for all jobs is given to the"),
        ("source;driving;output\na;b;c\n", r"there is no column 'source;driving;output'"),
        ("source,driving,output,face,face\n", "line 1: the column face stands there twice"),
        ("source,driving,output\n", "lists no jobs; expected a line for each"),
        ("source,driving,output\na,b,c\n\nd,,e\n", "line 4, column driving: the cell is empty"),
        ("source,driving,output\na,b\n", "line 2, column output: the cell is empty"),
        ("source,driving,output\na,b,c,d\n", "line 2: there are 4 cells, but 3 columns"),
        ("source,driving,output,crop\na,b,c,face\n", "line 2, column crop: 'face' is not auto, none or four"),
        ("source,driving,output,audio\na,b,c,loud\n", "line 2, column audio: 'loud' is not yes or no"),
        ("source,driving,output,start\na,b,c,-1\n", "line 2, column start: '-1' is not a number of seconds"),
        ("source,driving,output,size\na,b,c,64X48\n", "line 2, column size: '64X48' is not a number of pix"),
        ('source,driving,output\n"a\n",b,c\na,b,c\n', "line 4, column output: 'c' is the output of line 3"),
        ("source,driving,output\na,b,c\na,b,./x/../c\n", "line 3, column output: './x/../c' is the output"),
        ("source,driving,output\na,b,./b\n", "line 2, column output: it would replace the driving, 'b'"),
        ('source,driving,output\n"a,b,c\n', "cannot be read as a CSV table: unexpected end of data"),
        ("source,driving,output\na\0,b,c\n", "cannot be read as a CSV table|column"),
    ],
)
def test_mistakes_in_a_list_are_found_before_the_work(tmp_path, text, words):
    file = tmp_path / "jobs.csv"
    file.write_text(text)
    if "\0" in text and sys.version_info >= (3, 11):
        assert len(read_jobs(file)) == 1  # the csv module takes it since then, and no such file can be there
        return
    with pytest.raises(InputError, match=words) as caught:
        read_jobs(file)
    assert str(file) in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00s", None])
def test_what_is_no_list(tmp_path, content):
    file = tmp_path / "jobs.csv"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"jobs\.csv cannot be read as a CSV table"):
        read_jobs(file)


def test_columns_are_the_options_of_the_command(capsys):
    """But for those of all jobs; and both read the same words."""
    whole = {"help", "output", "checkpoint", "config", "device", "batch-size", "motion", "source-video"}
    whole |= {"jobs", "workers", "ray", "shard", "credentials"}
    negative = {"absolute", "no-adapt-scale", "no-openings", "no-audio", "no-paste-back", "no-mark"}
    assert main(["animate", "--help"]) == 0
    names = set(re.findall(r"^  (?:-\w.*, )?--([a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    assert names == set(COLUMNS) | whole | negative | {"precision", "engine"}
    words = {"crop": "1,2,3,4", "crop-driving": "none", "face": "2", "best-frame": "3", "start": "1.5",
             "duration": "2", "size": "7x5", "driver": "mesh", "shift": "0.5",
             "strength": "mouth=2", "parts": "mouth,eyes", **dict.fromkeys(EDITS, "-0.5"),
             "eyes": "0.5"}  # fmt: skip
    parser = build_parser()
    for name, option in COLUMNS.items():
        given = [f"--{name}", words[name]] if name in words else [f"--{name}"]
        parsed = parser.parse_args(["animate", "a", "b", "-o", "c", *given])
        assert getattr(parsed, option.field) == option.read(words.get(name, "yes")), name


# -- folders ----------------------------------------------------------------------------------------


def names_of(folder: Path, jobs: list[Job]) -> list[tuple[str, ...]]:
    return [
        tuple(path.relative_to(folder).as_posix() for path in (job.source, job.driving, job.output))
        for job in jobs
    ]


def test_folders_give_every_photo_with_every_video(files):
    photos, talks, out = files / "photos", files / "talks", files / "new" / "out"
    assert names_of(files, folder_jobs(photos, talks, out)) == [
        ("photos/a.png", "talks/x.mp4", "new/out/a--x.mp4"),
        ("photos/a.png", "talks/y.webm", "new/out/a--y.mp4"),
        ("photos/b.jpg", "talks/x.mp4", "new/out/b--x.mp4"),
        ("photos/b.jpg", "talks/y.webm", "new/out/b--y.mp4"),
    ]
    assert out.is_dir()
    assert names_of(files, folder_jobs(photos, talks / "x.mp4", out)) == [
        ("photos/a.png", "talks/x.mp4", "new/out/a.mp4"),
        ("photos/b.jpg", "talks/x.mp4", "new/out/b.mp4"),
    ]
    assert names_of(files, folder_jobs(photos / "a.png", talks, out)) == [
        ("photos/a.png", "talks/x.mp4", "new/out/x.mp4"),
        ("photos/a.png", "talks/y.webm", "new/out/y.mp4"),
    ]


def test_a_folder_with_pictures_is_one_video(files):
    """As everywhere; one without is a folder of videos: files, GIFs among them, and folders of pictures."""
    photo, frames = files / "photos" / "a.png", files / "talks" / "frames.v1"
    assert are_folders(files / "photos", photo) and are_folders(photo, files / "talks")
    assert not are_folders(photo, files / "talks" / "x.mp4") and not are_folders(photo, files / "missing")
    assert not are_folders(photo, files / "photos")
    (files / "empty").mkdir()
    assert not are_folders(photo, files / "empty")  # an error of the reader
    frames.mkdir()
    write_image(frames / "1.png", NOISE)
    (files / "talks" / "z.gif").touch()
    (files / "talks" / ".hidden.mp4").touch()
    found = [job.output.name for job in folder_jobs(photo, files / "talks", files / "out")]
    assert found == ["frames.v1.mp4", "x.mp4", "y.mp4", "z.mp4"]
    (files / "talks" / "cover.jpg").touch()
    with pytest.raises(
        InputError, match=r"talks holds pictures, as one video does, and also videos, such as x"
    ):
        are_folders(photo, files / "talks")


def test_folders_that_cannot_be(files):
    photos, talks = files / "photos", files / "talks"
    with pytest.raises(InputError, match=r"talks holds no photos; expected files that end in \.png"):
        folder_jobs(talks, talks, files / "out")
    with pytest.raises(InputError, match=r"out\.mp4 is to be a folder"):
        folder_jobs(photos, talks, files / "out.mp4")
    with pytest.raises(InputError, match=r"talks holds the driving videos; choose another"):
        folder_jobs(photos, talks, photos / ".." / "talks")
    with pytest.raises(InputError, match=r"cannot make the folder .*a\.png: File exists"):
        folder_jobs(photos, talks, photos / "a.png")
    write_image(photos / "a.jpg", NOISE)
    with pytest.raises(
        InputError, match=r"a\.jpg with .*x\.mp4 and .*a\.png with .* would both give .*--x\.mp4"
    ):
        folder_jobs(photos, talks, files / "out")
    assert not (files / "out").exists()


# -- what becomes of them ---------------------------------------------------------------------------


def test_finished_ones_are_skipped_and_failures_listed(tmp_path, tiny, calls):
    loaded, failures = [], tmp_path / "failures.csv"

    def load():
        loaded.append(1)
        return tiny

    jobs = listed(tmp_path, "a", "bad.png", "there", "bug.png", "b", crop="none")
    (tmp_path / "there.mp4").write_text("old")
    summary = run_jobs(jobs, load, failures=failures, progress=False, crop="auto", batch_size=2)
    assert (summary.done, summary.skipped) == (2, 1) and len(loaded) == 1
    assert [result.job for result in summary.failures] == [jobs[1], jobs[3]]
    assert [call[0] for call in calls] == ["a", "bad.png", "bug.png", "b"]
    wanted = group_options({"crop": "none", "batch_size": 2})  # its own come first
    assert calls[0][3] == {**wanted, "progress": False}
    with open(failures, newline="") as file:
        assert list(csv.reader(file)) == [
            ["source", "driving", "output", "reason"],
            [*map(str, (jobs[1].source, jobs[1].driving, jobs[1].output)),
             f"cannot read {tmp_path / 'bad.png'}: it is bad"],
            [*map(str, (jobs[3].source, jobs[3].driving, jobs[3].output)), "KeyError: 'a bug'"],
        ]  # fmt: skip
    for name in ("bad.png.mp4", "bug.png.mp4"):
        (tmp_path / name).write_text("now there")
    summary = run_jobs(jobs, load, failures=failures, progress=False)
    assert (summary.done, summary.skipped, summary.failures) == (0, 5, ()) and len(loaded) == 1
    assert not failures.exists() and (tmp_path / "there.mp4").read_text() == "old"


def test_failures_of_an_earlier_run_go_also_when_this_one_is_ended_early(tmp_path, tiny, calls, monkeypatch):
    failures = tmp_path / "failures.csv"
    jobs = listed(tmp_path, "a", "b")

    def end(*_, **__):
        raise KeyboardInterrupt

    failures.write_text("old")
    with pytest.raises(KeyboardInterrupt):  # nothing is known yet
        run_jobs(jobs, end, failures=failures, progress=False)
    assert failures.read_text() == "old"
    monkeypatch.setattr(
        run, "animate_job", lambda job, *_, **__: Result(job, "done") if job is jobs[0] else end()
    )
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, lambda: tiny, failures=failures, progress=False)
    assert not failures.exists()


def test_another_run_of_the_same_list(tmp_path, tiny, calls, monkeypatch):
    """What it finishes meanwhile is skipped, also where it is done in the very moment."""
    a, b, c, d = listed(tmp_path, "a", "b", "c", "d")

    def load():
        b.output.write_text("theirs")
        return tiny

    def lose(source, *_, **options):
        if source == c.source:
            c.output.mkdir()
            (c.output / "frame000001.png").touch()
            raise MediaError("it exists already")
        a.output.write_text("ours")

    (d.output).mkdir()  # empty: a place for a result
    monkeypatch.setattr(run, "animate_file", lose)
    summary = run_jobs([a, b, c, d], load, progress=False)
    assert (summary.done, summary.skipped, summary.failures) == (2, 2, ())
    assert b.output.read_text() == "theirs"


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_each_job_is_in_one_shard(tmp_path, tiny, calls, count):
    jobs = listed(tmp_path, *"abcdefgh")
    (tmp_path / "c.mp4").touch()  # what is done does not move the others to another part
    parts = []
    for index in range(1, count + 1):
        before = len(calls)
        summary = run_jobs(jobs, lambda: tiny, shard=(index, count), progress=False)
        parts.append([call[0] for call in calls[before:]])
        assert summary.done + summary.skipped == len(jobs[index - 1 :: count])
    assert sorted(itertools.chain(*parts)) == list("abdefgh")
    if count == 3:
        assert parts == [["a", "d", "g"], ["b", "e", "h"], ["f"]]


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"shard": (0, 2)}, {"shard": (3, 2)}])
def test_workers_and_shards_that_cannot_be(tmp_path, wrong):
    with pytest.raises(InputError, match=r"expected 1 or more, and I/N with I from 1 to N"):
        run_jobs(listed(tmp_path, "a"), LOAD, **wrong)


def test_what_would_fail_in_every_job_fails_once(tmp_path, calls):
    with pytest.raises(InputError, match="precision is 'float7'"):
        run_jobs(listed(tmp_path, "a", "b"), LOAD, precision="float7", failures=tmp_path / "failures.csv")
    assert list(tmp_path.iterdir()) == []


def test_one_job_by_itself(files, tiny):
    """As other programs call it, which have workers of their own."""
    job = Job(files / "photos" / "a.png", files / "talks" / "x.mp4", files / "new" / "r", {"size": 32})
    assert animate_job(job, *tiny, crop="none") == (job, "done", "")
    frames = sorted(job.output.iterdir())
    assert len(frames) == 3 and read_image(frames[0]).shape == (32, 32, 3)
    assert animate_job(job, *tiny).state == "skipped"
    missing = Job(files / "missing.png", job.driving, files / "r.mp4")
    assert animate_job(missing, *tiny) == (
        missing, "failed", f"cannot read {files / 'missing.png'}: there is no such file"
    )  # fmt: skip


# -- the command ------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_a_list_by_the_command(files, capsys):
    (files / "jobs.csv").write_text(
        "source,driving,output,crop,size\n"
        "photos/a.png,talks/x.mp4,out/1.mp4,none,48\n"
        "photos/missing.png,talks/x.mp4,out/2.mp4,none,\n"
        "photos/b.jpg,talks/y.webm,out/3.gif,,\n"
    )
    command = ["animate", "--jobs", str(files / "jobs.csv"), *TINY_OPTIONS]
    command += ["--crop", "none", "--device", "cpu"]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert captured.out == "2 done, 0 skipped, 1 failed\n"
    failures = files / "jobs-failures.csv"
    assert captured.err == f"fomm: not all jobs could be done; {failures} says why\n"
    assert "missing.png: there is no such file" in failures.read_text()
    with VideoReader(files / "out" / "1.mp4") as one, VideoReader(files / "out" / "3.gif") as other:
        assert (one.size, len(list(one))) == ((48, 48), 3) and (other.size, len(list(other))) == ((64, 64), 5)
    part = files / "jobs-failures-2-of-2.csv"
    assert main([*command, "--shard", "2/2"]) == 1 and part.exists()
    capsys.readouterr()
    write_image(files / "photos" / "missing.png", NOISE)
    assert main([*command, "--shard", "1/2"]) == 0
    assert capsys.readouterr().out == "0 done, 2 skipped, 0 failed\n" and failures.exists()
    assert main(command) == 0
    assert capsys.readouterr().out == "1 done, 2 skipped, 0 failed\n" and not failures.exists()
    assert not part.exists()  # all jobs were looked at


@pytest.mark.smoke
def test_folders_by_two_processes_as_by_one(files, capsys):
    """The same frames, and a failure in one of the processes."""
    (files / "talks" / "cut.mp4").write_bytes(b"no video")
    command = [
        "animate",
        str(files / "photos"),
        str(files / "talks"),
        *TINY_OPTIONS,
        "--crop",
        "none",
        "--no-mark",
    ]
    for out, workers in (("one", "1"), ("two", "2")):
        assert main([*command, "-o", str(files / out), "--workers", workers, "--device", "cpu"]) == 1
        assert capsys.readouterr().out == "4 done, 0 skipped, 2 failed\n"
    names = ["a--x.mp4", "a--y.mp4", "b--x.mp4", "b--y.mp4"]
    assert sorted(path.name for path in (files / "two").iterdir()) == [*names, "failures.csv"]
    for name in names:
        with VideoReader(files / "one" / name) as one, VideoReader(files / "two" / name) as two:
            assert np.array_equal(np.stack(list(one)), np.stack(list(two))), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--jobs", "jobs.csv", "photo.png"], "jobs.csv names photos, videos and outputs"),
        (["--jobs", "jobs.csv", "-o", "out"], "jobs.csv names photos, videos and outputs"),
        (["--jobs", "missing.csv"], "missing.csv cannot be read"),
        (
            ["photo.png", "driving.mp4", "-o", "out.mp4", "--shard", "1/2"],
            "--shard takes a part of many jobs",
        ),
    ],
)
def test_what_does_not_go_together(capsys, options, words):
    assert main(["animate", *options]) == 1
    assert words in capsys.readouterr().err


def test_without_a_list_the_files_are_asked_for(capsys):
    assert main(["animate", "photo.png"]) == 2
    assert "required: DRIVING, -o/--output" in capsys.readouterr().err
    assert build_parser().parse_args(["animate", "--jobs", "a.csv"]).photo is None


# -- interrupts -------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are for POSIX")
def test_nothing_half_written_and_nobody_left(tmp_path):
    """Ctrl-C at the terminal reaches all; SIGTERM and SIGKILL only the process that the user started."""
    write_image(tmp_path / "photo.png", NOISE[:64, :64])
    (tmp_path / "talks").mkdir()
    for name in ("x", "y"):
        save_video(tmp_path / "talks" / f"{name}.mp4", [NOISE[:32, :32], NOISE[32:64, :32]] * 2000, 25)
    runs = {}
    for number, whole in ((signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)):
        out = tmp_path / f"out{number:d}"
        command = ["animate", "photo.png", "talks", "-o", out.name, *TINY_OPTIONS]
        command += ["--crop", "none", "--workers", "2"]
        runs[number] = whole, out, subprocess.Popen(
            [sys.executable, "-m", "fomm", *command, "--device", "cpu"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        for number, (whole, out, process) in runs.items():
            _wait(lambda out=out, process=process: process.poll() is not None or len(_parts(out)) == 2)
            (os.killpg if whole else os.kill)(process.pid, number)
        for number, (_, out, process) in runs.items():
            said = process.communicate(timeout=60)[0]  # ends when all of them have closed their ends
            assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, -number), said
            assert said == {signal.SIGINT: "fomm: interrupted\n"}.get(number, ""), (number, said)
            _wait(lambda process=process: not _lives(process.pid))
            assert list(out.iterdir()) == []
    finally:
        for _, _, process in runs.values():
            if _lives(process.pid):
                os.killpg(process.pid, signal.SIGKILL)


def _parts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part.mp4")) if folder.exists() else []


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _wait(done, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)
