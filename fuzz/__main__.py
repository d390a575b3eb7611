"""Fuzz one reader: ``python -m fuzz checkpoints|images|videos [--minutes 15]``, from the top of the checkout.

atheris (libFuzzer for Python) changes bytes and keeps the inputs that reach new branches. It stops at the
first input that breaks a rule of ``tests/doors.py``: the reader raises another error than its own, or one
whose message is not one plain sentence; a file is left behind; code from the input runs; it takes more than
10 seconds or too much memory. That input is written beside the corpus, in ``data/fuzz/DOOR/``; ``--replay
FILE`` tries it alone.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["FOMM_MAX_PIXELS"] = "1000000"  # larger pictures take time and show nothing new

with atheris.instrument_imports(include=["fomm", "PIL", "pickletools", "zipfile"]):
    from fuzz.targets import TARGETS

MEGABYTES = 1500  # of memory; PyTorch alone takes 250


def main() -> None:
    """Parse the arguments, write the seeds into the corpus, and fuzz or replay."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("door", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=15, help="how long (default: 15)")
    parser.add_argument("--corpus", type=Path, help="where inputs are kept; without it, data/fuzz/DOOR")
    parser.add_argument("--replay", metavar="FILE", type=Path, help="try this one input and nothing else")
    options = parser.parse_args()
    target = TARGETS[options.door]
    corpus = options.corpus or ROOT / "data" / "fuzz" / options.door
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        folder = Path(scratch)

        def try_one(data: bytes) -> None:
            """Give one input to the reader; an exception is a finding."""
            target.knock(target.unwrap(data), folder)

        if options.replay:
            try_one(options.replay.read_bytes())
            return
        (corpus / "kept").mkdir(parents=True, exist_ok=True)
        (corpus / "found").mkdir(exist_ok=True)
        for index, seed in enumerate(target.seeds(folder)):
            (corpus / "kept" / f"seed-{index:03}").write_bytes(seed)
        for left in folder.iterdir():
            left.unlink()
        flags = [
            f"-max_total_time={round(options.minutes * 60)}",
            f"-max_len={target.longest}",
            f"-artifact_prefix={corpus / 'found'}/",
            f"-rss_limit_mb={MEGABYTES}",
            "-timeout=10",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *flags, str(corpus / "kept")], try_one)
        atheris.Fuzz()


main()
