"""What the parity tests share: one tiny GPT-2, and a way to ask Hugging Face's peft for its numbers about it."""

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gpt2 import GPT2, GPT2Config, load_gpt2
from gpt2.checkpoints.weights import save_gpt2

SCRIPT = Path(__file__).parent / "hf_peft_side.py"
TRAVEL_SCRIPT = Path(__file__).parent / "hf_travel_side.py"
TINY = GPT2Config(vocab_size=97, n_positions=32, n_embd=32, n_layer=2, n_head=4)
KNOWN_LIMITS = {  # words of a library's error -> why it cannot do this, through no fault of ours
    "Model does not support past key values": "peft looks for GPT-2's cache argument under the name that it had before "
    "transformers 5.24, and refuses prefixes on GPT2ForSequenceClassification",
    "No module named 'peft.tuners.lora.intruders'": "this version has no reduce_intruder_dimension yet",
}
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


@pytest.fixture(scope="session", name="library_version")
def library_version_fixture() -> str:
    return library_version()


class Answers:
    """name -> what a job gave. Looking at one that failed fails the test that looks, and no other test.

    Where the reason is a known limit of the library, that test xfails, with the installed versions and the reason.
    """

    def __init__(self, given: dict, errors: dict[str, str]):
        self.given, self.errors = given, errors

    def __getitem__(self, name: str):
        if name not in self.errors:
            return self.given[name]
        for words, reason in KNOWN_LIMITS.items():
            if words in self.errors[name]:
                versions = ", ".join(f"{lib} {importlib.metadata.version(lib)}" for lib in ("peft", "transformers"))
                pytest.xfail(f"{versions}: {reason}")
        pytest.fail(f"{name}: {self.errors[name]}", pytrace=False)


def run_elsewhere(
    script: Path, folder: Path, jobs: list[dict], read: Callable[[dict], dict], python: str | Path = sys.executable
) -> Answers:
    """Run a script over a list of jobs in ``folder``, in a process that does not find our packages.

    ``read`` gets a job that succeeded and returns its answer. A process that ends early fails the jobs that it left.
    """
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [str(python), str(script), "jobs.json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    given, errors = {}, {}
    for job in jobs:
        failed = folder / f"{job['name']}.error"
        try:
            if failed.is_file():
                errors[job["name"]] = failed.read_text(encoding="utf-8")
            else:
                given[job["name"]] = read(job)
        except FileNotFoundError:
            errors[job["name"]] = f"{script.name} ended with status {done.returncode}: {done.stderr[-2000:]}"
    return Answers(given, errors)


@pytest.fixture(scope="session", name="run_elsewhere")
def run_elsewhere_fixture() -> Callable[..., Answers]:
    return run_elsewhere


@pytest.fixture(scope="session")
def answers() -> type[Answers]:
    return Answers


@pytest.fixture(scope="session")
def hf_peft(checkpoint, tokens, tmp_path_factory):
    """ask(jobs) -> Answers: the tensors that Hugging Face's peft computes; see hf_peft_side.py for a job's keys.

    A job here needs ``name``, ``config_class``, ``config`` and ``tensors`` (name -> tensor); ``tokens`` if they are
    others than the fixture's. All jobs of a call share one process: importing the library takes most of the time.
    """
    version = library_version()

    def read(job: dict) -> dict[str, torch.Tensor]:
        with safe_open(job["out"], framework="pt") as file:
            assert file.metadata()["peft"] == version
        return load_file(job["out"])

    def ask(jobs: list[dict]) -> Answers:
        folder = tmp_path_factory.mktemp("hf-peft")
        written = []
        for job in jobs:
            name = job["name"]
            files = {kind: str(folder / f"{name}.{kind}.safetensors") for kind in ("tokens", "tensors", "out")}
            save_file({"tokens": job.get("tokens", tokens)}, files["tokens"])
            save_file({key: t.detach().clone().contiguous() for key, t in job["tensors"].items()}, files["tensors"])
            written.append({**job, **files, "checkpoint": str(checkpoint)})
        return run_elsewhere(SCRIPT, folder, written, read)

    return ask


@pytest.fixture(scope="session")
def hf_travel(tmp_path_factory):
    """ask(jobs, tokens, lengths) -> Answers: logits; see hf_travel_side.py for the jobs."""
    library_version()

    def ask(jobs: list[dict], tokens: torch.Tensor, lengths: torch.Tensor) -> Answers:
        folder = tmp_path_factory.mktemp("hf-travel")
        save_file({"tokens": tokens, "lengths": lengths}, folder / "messages.safetensors")
        read = lambda job: load_file(folder / f"{job['name']}.safetensors")["logits"]  # noqa: E731
        return run_elsewhere(TRAVEL_SCRIPT, folder, jobs, read)

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
