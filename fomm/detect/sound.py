"""How loud a video speaks in each of its frames."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from fomm.errors import MediaError
from fomm.media.ffmpeg import find_reason, has_sound, make_input_arguments, read_log_tail, start_process

_RATE = 8000  # samples a second
_BAND = "highpass=f=200,lowpass=f=3400"  # most of the voice, and little of hum and hiss
_FULL = 32768.0  # the largest sample
_SILENCE = 1e-4  # of the largest sample: as quiet as noise of 16 bits; what is quieter counts as this


def read_loudness(path: Path, fps: float, count: int) -> np.ndarray | None:
    """Return the loudness of the voice's band in each of ``count`` frames, dB of the largest sample.

    Frame i is what sounds from i / fps to (i + 1) / fps seconds: the root of the mean square of its samples.
    None where the file has no sound. Frames after its end are silent, -80 dB.

    Raises MediaError: the sound cannot be decoded.
    """
    if path.is_dir() or not has_sound(path):
        return None
    output = ["-map", "0:a:0", "-af", _BAND, "-ac", "1", "-ar", str(_RATE), "-t", f"{count / fps:.6f}"]
    arguments = ["-loglevel", "error", *make_input_arguments(path), *output, "-f", "s16le", "pipe:1"]
    edges = np.round(np.arange(count + 1) / fps * _RATE).astype(int)
    power = np.zeros(count)
    with tempfile.TemporaryFile() as log:
        process = start_process(arguments, log, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout is not None  # asked for with PIPE
        try:
            for frame, length in enumerate(np.diff(edges)):
                samples = np.frombuffer(process.stdout.read(2 * int(length)), np.int16, -1)
                if not len(samples):
                    break
                power[frame] = np.square(samples / _FULL).mean()
            process.stdout.read()  # what a rounded length leaves
            code = process.wait()
        finally:
            process.kill()
            process.stdout.close()
            process.wait()
        if code:
            raise MediaError(f"cannot read the sound of {path}: {find_reason(read_log_tail(log), code)}")
    return 20 * np.log10(np.maximum(np.sqrt(power), _SILENCE))
