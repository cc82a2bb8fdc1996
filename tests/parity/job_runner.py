"""What the scripts of the other side share: a list of jobs, each by itself.

Usage: ``python SCRIPT jobs.json``, in a folder outside the repository. The file holds a list of jobs, each with a name.
A job that fails leaves NAME.error, with what it raised, and the others go on.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path


def run_jobs(run: Callable[[dict], None]) -> None:
    for job in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        try:
            run(job)
        except Exception as error:  # noqa: BLE001 - whatever a library raises is this job's result
            Path(f"{job['name']}.error").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
