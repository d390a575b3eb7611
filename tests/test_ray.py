"""Jobs on a Ray cluster of this machine: every one is done once, also where workers are lost."""

import os
import signal
import sys
from pathlib import Path

import pytest

from fomm.cli import main
from fomm.errors import FommError, InputError, MissingExtraError
from fomm.jobs import Job, run, run_jobs


def fake_animate(source, driving, output, *networks, **options):
    """Write the result that ``load_fake`` promises, and die where the photo's name says so."""
    log = output.parent / f"{source.stem}.tries"
    tries = int(log.read_text()) if log.exists() else 0
    log.write_text(str(tries + 1))
    if source.stem == "deadly" or (source.stem == "lost" and not tries):
        os.kill(os.getpid(), signal.SIGKILL)
    if source.stem == "bad":
        raise InputError("there is no face")
    output.write_text(f"{os.getpid()}")


def load_fake():
    """Return networks for which nothing is computed: this is about workers."""
    import torch

    run.animate_file = fake_animate
    return torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)


def refuse():
    raise InputError("no such weights")


def fail():
    raise LookupError("nothing there")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_lost_workers_lose_no_job(cluster, tmp_path, monkeypatch):
    """A job whose worker is lost is done by another; one that kills two workers fails, and no other does."""
    monkeypatch.chdir(tmp_path)
    names = ["a", "lost", "bad", "deadly", "there", "b", "c"]
    jobs = [Job(Path(f"{name}.png"), Path("talk.mp4"), Path(f"{name}.mp4")) for name in names]
    Path("there.mp4").write_text("of an earlier run")
    summary = run_jobs(jobs, load_fake, ray=True, failures="failures.csv", progress=False)
    assert (summary.done, summary.skipped) == (4, 1)
    reasons = {result.job.source.stem: result.reason for result in summary.failures}
    assert reasons == {"bad": "there is no face", "deadly": "its worker was lost 2 times"}
    assert [Path(f"{name}.tries").read_text() for name in ("a", "b", "c", "lost", "deadly")] == [*"11122"]
    assert {path.read_text() for path in Path().glob("?.mp4")} != {str(os.getpid())}
    assert Path("failures.csv").read_text().count("\n") == 3
    again = run_jobs(jobs[:2], load_fake, ray=True, progress=False)
    assert (again.done, again.skipped) == (0, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "options", "kind", "words"),
    [
        (refuse, {}, InputError, "no such weights"),
        (fail, {}, RuntimeError, "LookupError: nothing there"),
        (die, {"workers": 1}, FommError, "every worker of the Ray cluster was lost while it prepared"),
        (load_fake, {"device": "cuda"}, InputError, "the Ray cluster has no GPU; take the device cpu"),
    ],
)
def test_what_no_job_is_to_blame_for_ends_the_run(cluster, tmp_path, load, options, kind, words):
    job = Job(tmp_path / "a.png", tmp_path / "talk.mp4", tmp_path / "a.mp4")
    with pytest.raises(kind, match=words):
        run_jobs([job], load, ray=True, progress=False, **options)


def test_without_its_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "jobs.csv").write_text("source,driving,output\na.png,talk.mp4,a.mp4\n")
    assert main(["animate", "--jobs", str(tmp_path / "jobs.csv"), "--ray"]) == 1
    assert "working on a Ray cluster needs the package ray: pip install ray" in capsys.readouterr().err
    with pytest.raises(MissingExtraError):
        run_jobs([Job(tmp_path / "a", tmp_path / "b", tmp_path / "c")], load_fake, ray=True, progress=False)


def test_one_photo_is_no_work_for_a_cluster(capsys):
    assert main(["animate", "a.png", "b.mp4", "-o", "c.mp4", "--ray"]) == 1
    assert "--ray is for many jobs" in capsys.readouterr().err
