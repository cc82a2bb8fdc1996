"""What the parity tests share: one tiny GPT-2, and a way to ask Hugging Face's peft for its numbers about it."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gpt2 import GPT2, GPT2Config, load_gpt2
from gpt2.weights import save_gpt2

SCRIPT = Path(__file__).parent / "hf_peft_side.py"
TRAVEL_SCRIPT = Path(__file__).parent / "hf_travel_side.py"
TINY = GPT2Config(vocab_size=97, n_positions=32, n_embd=32, n_layer=2, n_head=4)
compared = []  # one line per comparison, printed in the summary


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A tiny GPT-2 on disk whose every tensor, biases and norms too, is random: nothing hides behind a zero."""
    torch.manual_seed(1)
    model = GPT2(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    folder = tmp_path_factory.mktemp("tiny-gpt2")
    save_gpt2(model, folder)
    return folder


@pytest.fixture
def base(checkpoint) -> GPT2:
    """A fresh copy of it as our model."""
    return load_gpt2(checkpoint)


@pytest.fixture(scope="session")
def tokens() -> torch.Tensor:
    return torch.randint(TINY.vocab_size, (3, 11), generator=torch.Generator().manual_seed(2))


def library_version() -> str:
    try:
        importlib.metadata.version("transformers")
        return importlib.metadata.version("peft")
    except importlib.metadata.PackageNotFoundError as missing:
        pytest.skip(f"Hugging Face's {missing.name} is not installed (requirements-dev.txt has it)")


def run_elsewhere(script: Path, folder: Path, jobs: list[dict]) -> None:
    """Run a script over a list of jobs in ``folder``, in a process that does not find our packages."""
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), "jobs.json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="session")
def hf_peft(checkpoint, tokens, tmp_path_factory):
    """ask(jobs) -> {name: tensors}: what Hugging Face's peft computes; see hf_peft_side.py for a job's keys.

    A job here needs ``name``, ``config_class``, ``config`` and ``tensors`` (name -> tensor); ``tokens`` if they are
    others than the fixture's. All jobs of a call share one process: importing the library takes most of the time.
    """
    version = library_version()

    def ask(jobs: list[dict]) -> dict[str, dict[str, torch.Tensor]]:
        folder = tmp_path_factory.mktemp("hf-peft")
        written = []
        for job in jobs:
            name = job["name"]
            files = {kind: str(folder / f"{name}.{kind}.safetensors") for kind in ("tokens", "tensors", "out")}
            save_file({"tokens": job.get("tokens", tokens)}, files["tokens"])
            save_file({key: t.detach().clone().contiguous() for key, t in job["tensors"].items()}, files["tensors"])
            written.append({**job, **files, "checkpoint": str(checkpoint)})
        run_elsewhere(SCRIPT, folder, written)
        results = {}
        for job in written:
            results[job["name"]] = load_file(job["out"])
            with safe_open(job["out"], framework="pt") as file:
                assert file.metadata()["peft"] == version
        return results

    return ask


@pytest.fixture(scope="session")
def hf_travel(tmp_path_factory):
    """ask(jobs, tokens, lengths) -> {name: logits}; see hf_travel_side.py for the jobs."""
    library_version()

    def ask(jobs: list[dict], tokens: torch.Tensor, lengths: torch.Tensor) -> dict:
        folder = tmp_path_factory.mktemp("hf-travel")
        save_file({"tokens": tokens, "lengths": lengths}, folder / "messages.safetensors")
        run_elsewhere(TRAVEL_SCRIPT, folder, jobs)
        return {job["name"]: load_file(folder / f"{job['name']}.safetensors")["logits"] for job in jobs}

    return ask


@pytest.fixture
def agree():
    """agree(what, library, ours, theirs): both within 1e-4, noted for the summary at the end of the run.

    ``version`` is that of the library, where it is not installed in this environment.
    """

    def agree(
        what: str,
        library: str,
        ours: torch.Tensor,
        theirs: torch.Tensor,
        tolerance: float = 1e-4,
        version: str | None = None,
    ) -> None:
        assert ours.shape == theirs.shape
        difference = (ours - theirs).abs().max().item()
        version = version or importlib.metadata.version(library)
        compared.append(f"{what}: {library} {version}, largest difference {difference:.1e}")
        assert difference <= tolerance, compared[-1]

    return agree


def pytest_terminal_summary(terminalreporter):
    if compared:
        terminalreporter.section("compared with production libraries")
        for line in compared:
            terminalreporter.write_line(line)
