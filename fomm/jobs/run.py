"""Many photos and videos: a list of jobs, from a CSV file or from folders, done one by one or side by side.

    from functools import partial
    from fomm import load_checkpoints
    from fomm.jobs import read_jobs, run_jobs

    summary = run_jobs(read_jobs("jobs.csv"), load_checkpoints, workers=2)

A job whose output is there is not done again, and one that fails does not stop the others.
"""

import csv
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from tqdm import tqdm

from fomm import model
from fomm.animation.animate import animate_file
from fomm.animation.option_table import group_options
from fomm.animation.options import Compute
from fomm.atomic import atomic_path
from fomm.engines import choose_engine
from fomm.errors import FommError, InputError
from fomm.jobs.lists import PATHS, Job
from fomm.jobs.ray_workers import work_on_ray
from fomm.media.paths import PathLike
from fomm.workers import WorkerDeath, work_in_processes

Networks = tuple[model.Generator, model.Detector]


class Result(NamedTuple):
    """What became of a job."""

    job: Job
    state: Literal["done", "skipped", "failed"]  # skipped: its output was there
    reason: str = ""  # why it failed, one line


@dataclass(frozen=True)
class Summary:
    """What became of many."""

    done: int
    skipped: int
    failures: tuple[Result, ...]


def run_jobs(
    jobs: Sequence[Job],
    load: Callable[[], Networks],
    *,
    workers: int | None = None,
    ray: bool = False,
    shard: tuple[int, int] = (1, 1),
    failures: PathLike | None = None,
    progress: bool = True,
    **options: Any,
) -> Summary:
    """Do the jobs that have no output yet, in their order.

    Args:
        load: gives the networks, such as ``load_checkpoints`` or a ``partial`` of it; called once in each
            process, and not at all where there is nothing to do.
        workers: processes; 1, and None, is this one. More are started afresh, so that a script needs its
            ``if __name__ == "__main__":``, and share the CPU's cores.
        ray: work on a Ray cluster, see ``work_on_ray``. ``workers`` are those of all machines; None is one
            for each GPU, or CPU where there is no GPU. All machines have to see the files of ``jobs`` and
            ``load`` under the same names.
        shard: (I, N) takes the I-th of every N jobs, counted from 1: each job is in one of the N parts.
        failures: a CSV file that gets the jobs that failed, with the reason. That of an earlier run is
            replaced, or removed where none failed, also when the run is ended early but has done jobs.
        progress: show a progress bar, where the output is a terminal.
        options: for all jobs, by field of ``Framing``, ``Excerpt``, ``Motion``, ``Marking`` and ``Compute``;
            a job's own come before them.

    Raises:
        InputError: an argument cannot be used; and whatever ``load`` raises. What a job alone is to blame for
            is in the summary.
    """
    index, count = shard
    if (workers is not None and workers < 1) or not 1 <= index <= count:
        raise InputError(
            f"workers is {workers} and shard {index}/{count}; expected 1 or more, and I/N with I from 1 to N"
        )
    mine = jobs[index - 1 :: count]
    left = [job for job in mine if not _is_there(job.output)]
    states = {"done": 0, "skipped": len(mine) - len(left)}
    failed: list[Result] = []
    compute = group_options(options)["compute"]
    work = partial(_animate, options)
    if ray and left:
        prepare = partial(_prepare, load, 1, compute)
        results = _explain_deaths(work_on_ray(prepare, work, left, workers, compute.device))
    else:
        processes = min(workers or 1, len(left))
        results = _results(partial(_prepare, load, processes, compute), work, left, processes)
    bar = tqdm(total=len(mine), initial=states["skipped"], unit="job", disable=None if progress else True)
    try:
        with closing(results), bar:
            for result in results:
                if result.state == "failed":
                    failed.append(result)
                else:
                    states[result.state] += 1
                bar.update()
    finally:
        if failures is not None and failed:
            _write_failures(Path(failures), failed)
        elif failures is not None and (states["done"] or states["skipped"] == len(mine)):
            Path(failures).unlink(missing_ok=True)
    return Summary(**states, failures=tuple(failed))


def animate_job(job: Job, generator: model.Generator, kp_detector: model.Detector, **options: Any) -> Result:
    """Do one job, unless its output is there; its folder is made. An error becomes the result's reason.

    ``options``: as of ``run_jobs``; the job's own come before them.
    """
    if _is_there(job.output):
        return Result(job, "skipped")
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        given = group_options({**options, **job.options})
        animate_file(job.source, job.driving, job.output, generator, kp_detector, **given, progress=False)
    except Exception as error:  # whatever it is, the other jobs are not to blame
        if _is_there(job.output):  # another run was quicker
            return Result(job, "skipped")
        text = " ".join(str(error).split())
        return Result(
            job, "failed", text if isinstance(error, FommError) else f"{type(error).__name__}: {text}"
        )
    return Result(job, "done")


def _is_there(output: Path) -> bool:
    """Whole, since it gets its name last. An empty folder is a place for a result."""
    return any(output.iterdir()) if output.is_dir() else output.exists()


def _prepare(load: Callable[[], Networks], processes: int, compute: Compute) -> Networks:
    """In each process, before its first job; what would fail in every job fails here."""
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    networks = load()
    choose_engine(compute.engine, compute.precision, next(networks[0].parameters()).device)
    return networks


def _animate(options: dict[str, Any], networks: Networks, job: Job) -> Result:
    return animate_job(job, *networks, **options)


def _results(
    prepare: Callable[[], Networks],
    work: Callable[[Networks, Job], Result],
    jobs: Sequence[Job],
    processes: int,
) -> Generator[Result, None, None]:
    if processes < 2:
        networks = prepare() if jobs else None
        for job in jobs:
            assert networks is not None
            yield work(networks, job)
        return
    yield from _explain_deaths(work_in_processes(prepare, work, jobs, processes))


def _explain_deaths(
    results: Generator[tuple[Job, Result | WorkerDeath], None, None],
) -> Generator[Result, None, None]:
    with closing(results):
        for job, result in results:
            yield Result(job, "failed", result.reason) if isinstance(result, WorkerDeath) else result


def _write_failures(path: Path, failed: Iterable[Result]) -> None:
    with (
        atomic_path(path, InputError) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow([*PATHS, "reason"])
        table.writerows([job.source, job.driving, job.output, reason] for job, _, reason in failed)
