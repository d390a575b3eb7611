"""How long a checkpoint of the published size takes to load, and how much memory, in either format.

    python benchmarks/loading.py --json loading.json

Two files are made as a training of vox-256 leaves them: the generator, the key-point detector, the
discriminator and the states of three optimisers, 750 MB of random numbers. Loading is ``load_checkpoints``,
up to both networks in eval mode, in a fresh process that has imported torch and fomm. For comparison the same
file is only read: in pieces of 1 MB, which are thrown away, and all of it into memory. All take turns; the
medians are shown. The files are in the system's cache, so no disk is measured.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import peak_memory, write_report
from torch import nn

from fomm.checkpoint import build_discriminator, build_networks, load_checkpoints
from fomm.config import load_config

FORMATS = ("zip", "legacy")  # torch.save since 1.6, and before


def write_files(folder: Path) -> None:
    """Write ``zip.pth.tar`` and ``legacy.pth.tar`` with the same content."""
    config = load_config("vox-256")
    generator, kp_detector = build_networks(config)
    networks = {
        "generator": generator,
        "kp_detector": kp_detector,
        "discriminator": build_discriminator(config),
    }
    content: dict[str, object] = {name: network.state_dict() for name, network in networks.items()}
    for name, network in networks.items():
        content[f"optimizer_{name}"] = make_optimizer_state(network)
    content["epoch"] = 99
    for kind in FORMATS:
        torch.save(content, folder / f"{kind}.pth.tar", _use_new_zipfile_serialization=kind == "zip")


def make_optimizer_state(network: nn.Module) -> dict[str, Any]:
    """Make the state of Adam after some steps: two more numbers for each of the network's."""
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-4)
    for weights in network.parameters():
        optimizer.state[weights] = {
            "step": torch.tensor(100.0),
            "exp_avg": torch.randn_like(weights),
            "exp_avg_sq": torch.rand_like(weights),
        }
    return optimizer.state_dict()


def load(path: Path) -> dict[str, float]:
    """Load a checkpoint, and return seconds and MB."""
    begun, used = time.perf_counter(), time.process_time()
    generator, _ = load_checkpoints(checkpoint_path=path, cpu=True)
    result = {"load": time.perf_counter() - begun, "load_processor": time.process_time() - used}
    result["peak_memory_mb"] = peak_memory()
    begun = time.perf_counter()
    assert generator.weights_hash is not None
    return result | {"hash": time.perf_counter() - begun}


def read_pieces(path: Path) -> dict[str, float]:
    """Read a file in pieces, and return seconds."""
    begun, piece = time.perf_counter(), bytearray(1 << 20)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(piece):
            pass
    return {"read_pieces": time.perf_counter() - begun}


def read_whole(path: Path) -> dict[str, float]:
    """Read a file at once, and return seconds."""
    begun = time.perf_counter()
    path.read_bytes()
    return {"read_whole": time.perf_counter() - begun}


ALONE: dict[str, Callable[[Path], dict[str, float]]] = {
    "load": load,
    "pieces": read_pieces,
    "whole": read_whole,
}


def measure(folder: Path, rounds: int, threads: int) -> list[dict[str, Any]]:
    """Return a row of medians for each format; the first round warms up."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in FORMATS}
    for turn in range(rounds + 1):
        for kind in FORMATS:
            result: dict[str, float] = {}
            for what in ALONE:
                command = [sys.executable, __file__, "--threads", str(threads), "--alone", what]
                command.append(str(folder / f"{kind}.pth.tar"))
                result |= json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            if turn:
                found[kind].append(result)
    rows = []
    for kind, results in found.items():
        for result in results:
            result["times_read_pieces"] = result["load"] / result["read_pieces"]
            result["times_read_whole"] = result["load"] / result["read_whole"]
        row = {name: statistics.median(result[name] for result in results) for name in results[0]}
        slowest = max(result["load"] for result in results)
        size = (folder / f"{kind}.pth.tar").stat().st_size
        rows.append({"format": kind, "file_mb": size / 1e6, "slowest_load": slowest, **row})
    return rows


COLUMNS = {  # title: (key, format)
    "file, MB": ("file_mb", ".0f"),
    "load, s": ("load", ".2f"),
    "slowest": ("slowest_load", ".2f"),
    "cpu, s": ("load_processor", ".2f"),
    "read, s": ("read_whole", ".2f"),
    "load/read": ("times_read_whole", ".2f"),
    "pieces, s": ("read_pieces", ".2f"),
    "load/pieces": ("times_read_pieces", ".2f"),
    "hash, s": ("hash", ".2f"),
    "peak, MB": ("peak_memory_mb", ".0f"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="(default: 7)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: torch's)")
    parser.add_argument("--folder", type=Path, help="for the two files, 1.5 GB; without it, a temporary one")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.alone:  # what measure starts
        what, path = options.alone
        print(json.dumps(ALONE[what](Path(path))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_files(Path(folder))
        rows = measure(Path(folder), options.rounds, options.threads)
    print(f"{'format':<8}" + "".join(f"{title:>13}" for title in COLUMNS))
    for row in rows:
        cells = "".join(f"{row[key]:>13{form}}" for key, form in COLUMNS.values())
        print(f"{row['format']:<8}{cells}")
    write_report(options.json, {"rounds": options.rounds, "threads": options.threads}, rows=rows)


if __name__ == "__main__":
    main()
