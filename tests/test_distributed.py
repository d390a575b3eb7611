"""Several processes on one machine, on the CPU: they train as one would, and start again by themselves."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from training_case import assert_same, state_of, training_config, write_clips

from fomm.training.distributed import Processes
from fomm.training.loop import train
from fomm.training.state import Run

# A process of a run: configuration, data, out; where the file KILL is missing, process 1 dies at step 3. Into
# the folder STEPS, if there is one, each process notes the number of the step that it begins, and nothing is
# saved before the end.
WORKER = """
import json, os, signal, sys
from pathlib import Path
from fomm.config import config_from_dict
from fomm.training.loop import train
from fomm.training.step import Step
marker, notes, step = os.environ.get("KILL"), os.environ.get("STEPS"), Step.__call__
def killed(self, *args):
    if marker and self.run.step == 3 and self.processes.rank == 1 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if notes:
        (Path(notes) / f"{self.processes.rank}").write_text(f"{self.run.step}")
    return step(self, *args)
Step.__call__ = killed
config = config_from_dict(json.loads(sys.argv[1]))
list(train(config, sys.argv[2], sys.argv[3], device="cpu", save_seconds=1e9 if notes else 0.0))
"""


# A process that fetches what is not there, and leaves a note of its number.
FETCHER = """
import sys, time
from pathlib import Path
import torch
from fomm.training.distributed import Processes
folder = Path(sys.argv[1])
with Processes("cpu") as processes:
    with processes.local_main_first():
        if not (folder / "fetched").exists():
            time.sleep(2)
            with open(folder / "fetched", "a") as file:
                file.write(str(processes.rank))
    assert processes.mean(torch.tensor([1.0])).item() == 1  # the group of the training is as it was
    (folder / f"ready-{processes.rank}").touch()
"""
# A process that finds the other, and is killed then in the first four starts.
MORTAL = """
import os, signal, sys
from pathlib import Path
import torch
from fomm.training.distributed import Processes
with Processes("cpu") as processes:
    assert processes.mean(torch.tensor([1.0])).item() == 1
    start = Path(sys.argv[1]) / os.environ["TORCHELASTIC_RESTART_COUNT"]
    if processes.rank == 1:
        start.touch()
        if len(list(start.parent.iterdir())) <= 4:
            os.kill(os.getpid(), signal.SIGKILL)
    processes.mean(torch.tensor([1.0]))
"""
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def torchrun(tmp_path) -> list[str]:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    return [*LAUNCHER, "--max-restarts", "3", str(script)]  # Gloo aborts a process now and then


def shared_config(**train_params):
    """Return a configuration of steps in which the processes differ in nothing but their pairs."""
    return training_config(augmentation=None, freeze_norm=True, **train_params)


@pytest.mark.slow
def test_two_processes_train_as_one_would(tmp_path):
    data = write_clips(tmp_path / "data")
    # without Adam's division by tiny gradients, which makes noise of rounding, and without the random
    # transforms, which each process draws for itself
    weights = {"generator_gan": 0, "equivariance_value": 0, "equivariance_jacobian": 0}
    config = shared_config(loss_weights=weights, clip_norm=1e-3)
    list(train(config, data, tmp_path / "one", device="cpu"))
    command = [*torchrun(tmp_path), json.dumps(config.to_dict()), str(data), str(tmp_path / "two")]
    subprocess.run(command, check=True, timeout=600)
    torch.manual_seed(0)
    start = Run(config, config.train_params, Processes("cpu")).state_dict()["networks"]
    one, two = state_of(tmp_path / "one"), state_of(tmp_path / "two")
    assert one["step"] == two["step"] == 12
    # Rounding grows in these steps. A process that trained alone would be off by nine tenths of the way.
    for name in start:
        before, alone, together = (
            torch.cat([value.float().flatten() for value in networks[name].values()])
            for networks in (start, one["networks"], two["networks"])
        )
        moved, error = (alone - before).norm(), (alone - together).norm()
        assert error < 0.3 * moved, f"{name} moved by {moved}, and differs by {error}"


@pytest.mark.slow
def test_a_process_that_dies_is_started_again_and_the_run_goes_on(tmp_path):
    data = write_clips(tmp_path / "data")
    config = training_config()
    ends = []
    for name, marker in (("whole", None), ("restarted", tmp_path / "killed-once")):
        command = [
            *torchrun(tmp_path),
            json.dumps(config.to_dict()),
            str(data),
            str(tmp_path / name),
        ]
        environment = os.environ | ({"KILL": str(marker)} if marker else {})
        subprocess.run(command, check=True, timeout=600, env=environment)
        ends.append(state_of(tmp_path / name))
    assert marker.exists()
    assert_same(*ends)


@pytest.mark.slow
def test_processes_that_are_started_again_find_each_other_at_once(tmp_path):
    script, starts = tmp_path / "worker.py", tmp_path / "starts"
    script.write_text(MORTAL)
    starts.mkdir()
    subprocess.run([*LAUNCHER, "--max-restarts", "5", str(script), str(starts)], check=True, timeout=100)
    assert len(list(starts.iterdir())) == 5


@pytest.mark.slow
def test_all_processes_stop_at_the_same_step_when_asked(tmp_path):
    data = write_clips(tmp_path / "data")
    config = training_config(num_epochs=100_000)
    command = [*torchrun(tmp_path), json.dumps(config.to_dict()), str(data), str(tmp_path / "run")]
    steps = tmp_path / "steps"
    steps.mkdir()
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"STEPS": str(steps)}
    )
    deadline = time.monotonic() + 120
    while not ((steps / "0").exists() and (steps / "1").exists()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)  # they are at different places of a step
    state = tmp_path / "run" / "state.pt"
    assert not state.exists()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    last = [int((steps / rank).read_text()) for rank in "01"]
    assert process.returncode != 0, errors
    assert state.exists(), errors  # nothing but the signal had it written
    assert last[0] == last[1] == state_of(tmp_path / "run")["step"] - 1 > 0, errors


@pytest.mark.slow
def test_one_process_fetches_while_the_other_waits(tmp_path):
    """Two processes that find the same cache empty, and a download that takes a while."""
    script = tmp_path / "worker.py"
    script.write_text(FETCHER)
    subprocess.run([*LAUNCHER, str(script), str(tmp_path)], check=True, timeout=300)
    assert (tmp_path / "fetched").read_text() == "0"
    assert (tmp_path / "ready-0").exists()
    assert (tmp_path / "ready-1").exists()


def test_one_process_shares_with_nobody():
    with Processes("cpu") as processes:
        module = torch.nn.Linear(2, 2)
        assert processes.is_main
        assert processes.world_size == 1
        assert processes.wrap(module) is module
        assert torch.equal(processes.mean(torch.tensor([1.0, 2.0])), torch.tensor([1.0, 2.0]))
        assert processes.synchronise_norms(module) is module
    assert not torch.distributed.is_initialized()


def test_a_process_that_does_not_find_the_others_ends():
    """Even where the library would wait for ever."""
    script = (
        "import time, torch.distributed as dist\n"
        "from fomm.training.distributed import Processes\n"
        "dist.rendezvous = lambda *args, **options: iter([(None, 0, 2)])\n"
        "dist.init_process_group = lambda *args, **options: time.sleep(120)\n"
        "Processes('cpu', timeout=0.5)"
    )
    environment = os.environ | {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 1, done.stderr
    assert "Timeout" in done.stderr, done.stderr
    assert "fomm/training/distributed.py" in done.stderr, done.stderr  # where it waited
