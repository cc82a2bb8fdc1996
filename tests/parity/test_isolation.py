"""One job that a library cannot do costs the test of that job, and no other."""

import pytest

SIDE = """
import os, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from job_runner import run_jobs

def run(job):
    if "exit" in job:
        os._exit(3)
    if "error" in job:
        raise RuntimeError(job["error"])
    Path(job["name"]).write_text("done")

run_jobs(run)
"""


@pytest.fixture
def ask(run_elsewhere, request, tmp_path):
    script = tmp_path / "side.py"
    script.write_text(SIDE.format(folder=str(request.path.parent)), encoding="utf-8")
    return lambda jobs: run_elsewhere(script, tmp_path, jobs, lambda job: (tmp_path / job["name"]).read_text())


def test_a_failed_job_fails_its_own_test_with_the_reason(ask):
    answers = ask([{"name": "bad", "error": "no such thing"}, {"name": "good"}])
    assert answers["good"] == "done"
    with pytest.raises(pytest.fail.Exception, match="bad: RuntimeError: no such thing"):
        answers["bad"]


def test_a_known_limit_of_the_library_xfails_with_versions_and_reason(ask):
    pytest.importorskip("transformers")
    refused = {"name": "prefix", "error": "Model does not support past key values which are required"}
    with pytest.raises(pytest.xfail.Exception, match=r"peft \d.*, transformers \d.*: peft looks for GPT-2's cache"):
        ask([refused])["prefix"]


def test_a_process_that_dies_leaves_what_it_had_done(ask):
    answers = ask([{"name": "before"}, {"name": "crash", "exit": 3}, {"name": "after"}])
    assert answers["before"] == "done"
    for name in ("crash", "after"):
        with pytest.raises(pytest.fail.Exception, match="side.py ended with status 3"):
            answers[name]
