"""Many photos and videos: lists of jobs, and the processes that do them."""

from fomm.jobs.lists import Job, are_folders, folder_jobs, read_jobs
from fomm.jobs.run import Result, Summary, animate_job, run_jobs

__all__ = [
    "Job",
    "Result",
    "Summary",
    "animate_job",
    "are_folders",
    "folder_jobs",
    "read_jobs",
    "run_jobs",
]
