"""Find the files of videos by their YouTube ids, and download those that are missing with yt-dlp."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fomm.errors import MediaError
from fomm.media.paths import VIDEO_SUFFIXES

_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")


def find_files(folder: Path, ids: set[str]) -> dict[str, Path]:
    """Return the video files below ``folder`` whose names are one of ``ids``, by id."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.stem in ids and path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            found.setdefault(path.stem, path)
    return found


def find_downloader() -> tuple[str, ...]:
    """Return the command that starts yt-dlp; empty where it is not installed."""
    program = shutil.which("yt-dlp")
    if program:
        return (program,)
    return (sys.executable, "-m", "yt_dlp") if importlib.util.find_spec("yt_dlp") else ()


def fetch(video_id: str, folder: Path, downloader: Sequence[str]) -> Path:
    """Download a video of YouTube into ``folder``, at most 1080 lines, without sound where that is offered.

    Raises ``MediaError`` with yt-dlp's reason.
    """
    if not _YOUTUBE_ID.fullmatch(video_id):
        raise MediaError("no file has that name, and it is no id of YouTube")
    quiet = ["--quiet", "--no-warnings", "--no-progress", "--no-playlist"]
    choice = ["--format", "bestvideo[height<=1080]/best[height<=1080]/best"]
    place = ["--paths", f"home:{folder}", "--output", "%(id)s.%(ext)s"]
    address = f"https://www.youtube.com/watch?v={video_id}"
    process = subprocess.run(
        [*downloader, *quiet, *choice, *place, "--", address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    path = find_files(folder, {video_id}).get(video_id)
    if process.returncode or path is None:
        lines = process.stderr.decode(errors="replace").strip().splitlines()
        words = lines[-1].removeprefix("ERROR: ") if lines else f"it ended with {process.returncode}"
        raise MediaError(f"yt-dlp could not fetch it: {words}")
    return path
