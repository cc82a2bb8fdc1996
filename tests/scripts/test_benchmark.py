"""The benchmark: every arm trains the same thing, operations are counted right, and workers fail in one line."""

import importlib.metadata
import json
from pathlib import Path

import pytest
import torch

from benchmarking import arms as benchmark_arms
from benchmarking import flops as benchmark_flops
from benchmarking import generation as benchmark_generation
from benchmarking import methods as benchmark_methods
from benchmarking import profile as benchmark_profile
from benchmarking import report as benchmark_report
from benchmarking import rounds as benchmark_rounds
from benchmarking import scaling as benchmark_scaling
from benchmarking.rounds import LIBRARY, OURS, PUBLISHED, Worker, bounds, measure, summarise
from gpt2 import GPT2, GPT2Config
from gpt2.checkpoints.weights import save_gpt2
from gpt2.errors import InputError, RunError

ROOT = Path(__file__).parents[2]
TINY = GPT2Config(vocab_size=50257, n_positions=64, n_embd=32, n_layer=2, n_head=2)
METHODS = ("lora", "selective", "head", "full")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-gpt2")
    save_gpt2(GPT2(TINY), folder)
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return benchmark_methods.serve("practice", None, TINY, tmp_path_factory.mktemp("batches"))


def job_for(method: str, arm: str, checkpoint: Path, served) -> dict:
    job = {"method": method, "arm": arm, "model": str(checkpoint), "classes": 2, "seed": 123, "lr": 1e-3}
    return job | {"batches": str(served.file), "threads": 1, "lora": benchmark_arms.LORA}


# From end to end


@pytest.mark.slow
def test_every_arm_is_measured_and_reported(command, checkpoint, tmp_path, monkeypatch):
    few = {"every-position": benchmark_arms.SWITCHES["every-position"]}  # each is a process of its own
    monkeypatch.setattr(benchmark_methods, "SWITCHES", few)
    monkeypatch.setattr(benchmark_flops, "SIDE", 64)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where our peft would hide the library's
    out = tmp_path / "performance.md"
    options = ["--data", "practice", "--methods", "lora", "--steps", 3, "--rounds", 2, "--out", out]
    result = command("benchmark", "--model", checkpoint, *options)
    assert result.status == 0, result.err

    report = out.read_text(encoding="utf-8")
    raw = json.loads((tmp_path / "results" / "performance.json").read_text(encoding="utf-8"))
    measured = raw["methods"]["lora"]
    with_library = not benchmark_methods.library_missing()
    assert list(measured["arms"]) == [PUBLISHED, *([LIBRARY] if with_library else []), OURS]
    assert list(measured["switches"]) == [OURS, "every-position"]
    for name in measured["arms"]:
        assert f"| {name} |" in report
    for switch in few.values():
        assert f"| `lora` | {switch.text} |" in report
    assert str(checkpoint) in raw["command"] and raw["command"] in report
    assert "not judged on a model of another size" in report
    assert raw["shape"] == {"n_layer": 2, "n_embd": 32}

    ours, plain = measured["switches"][OURS], measured["switches"]["every-position"]
    assert benchmark_rounds.losses(ours) == pytest.approx(benchmark_rounds.losses(plain), rel=1e-4)
    records = measured["arms"][OURS]["records"]
    assert [(r["start"], r["stop"]) for r in records] == [(0, 2), (2, 3)]
    assert all(len(r["seconds"]) == len(r["losses"]) == r["stop"] - r["start"] for r in records)
    assert all(arm["records"][-1]["peak_mb"] >= arm["about"]["loaded_mb"] for arm in measured["arms"].values())
    if not with_library:
        pytest.skip("transformers or peft is not installed: their arm was left out, as it should be")

    library = measured["arms"][LIBRARY]
    assert library["about"]["peft"] == importlib.metadata.version("peft")
    assert library["about"]["peft_layers"] == 4 * TINY.n_layer  # c_attn, c_fc and two c_proj in each block
    ends = [(32, 96), (32, 32), (32, 128), (128, 32)]
    head = 2 * 32 + 2
    assert library["about"]["trained"] == head + TINY.n_layer * 8 * sum(a + b for a, b in ends)
    first = [benchmark_rounds.losses(measured["arms"][name])[0] for name in (OURS, LIBRARY)]
    assert first[0] == pytest.approx(first[1], rel=1e-4)  # before any update: the same head, and adapters at zero


# Arms


@pytest.mark.parametrize("method", METHODS)
def test_a_switch_changes_the_cost_and_not_the_losses(method, checkpoint, served):
    def losses(name: str) -> list[float]:
        arm = benchmark_arms.make_arm(job_for(method, name, checkpoint, served))
        arm.start()
        assert arm.order == "grouped"
        batches = benchmark_arms.read_batches({"batches": str(served.file)}, arm.order)[:3]
        return [arm.step(batch) for batch in batches]

    expected = losses(OURS)
    assert len(set(expected)) == 3
    for name, switch in benchmark_arms.SWITCHES.items():
        if method in switch.methods and name != "ungrouped":
            assert losses(name) == pytest.approx(expected, rel=1e-4), name


def test_published_pads_everything_to_the_longest_message(checkpoint, served):
    arm = benchmark_arms.make_arm(job_for("lora", PUBLISHED, checkpoint, served))
    longest = max(map(len, served.messages))
    batches = benchmark_arms.read_batches({"batches": str(served.file)}, arm.order)
    assert arm.order == "random" and sum(map(arm.positions, batches)) == len(served.messages) * longest
    message = max(served.messages, key=len)
    whole = ([message] * 2, [0, 1])  # no padding: the last position is the last real token
    ours = benchmark_arms.make_arm(job_for("lora", OURS, checkpoint, served))
    ours.start()
    assert arm.loss(whole).item() == pytest.approx(ours.loss(whole).item(), rel=1e-5)
    assert (arm.positions(whole), ours.positions(whole)) == (2 * longest, 2 * len(message))


def test_both_orders_hold_every_message_once(served):
    for order in ("grouped", "random"):
        batches = benchmark_arms.read_batches({"batches": str(served.file)}, order)
        assert len(batches) == served.steps == 175
        messages = sorted(tuple(tokens.tolist()) for batch in batches for tokens in batch[0])
        assert messages == sorted(map(tuple, served.messages))


# The arithmetic limit


@pytest.mark.parametrize(
    "method, first, later",
    [  # by hand, for a message of 3 tokens, width 4, two blocks, one head, two classes; see the comments
        ("head", 1248 + 560 + 2 * 16, 2 * 16),  # block 0: 12 * 96 + 4*4*6; block 1: 2*96 + 2*32 + 2*128 + 4*4*3
        ("selective", 1248 + 3 * 560 + 3 * 16, 3 * 560 + 3 * 16),
        ("full", 3 * (1248 + 560 + 16), 3 * (1248 + 560 + 16)),  # forward, gradients of inputs and of weights
        ("lora", 3528 + 1792 + 68, 3528 + 1792 + 68),  # rank 1; nothing flows to what is below block 0
    ],
)
def test_needed_operations_by_hand(method, first, later, monkeypatch):
    monkeypatch.setattr(benchmark_arms, "LORA", {"rank": 1, "alpha": 1})
    with torch.device("meta"):
        model = GPT2(GPT2Config(vocab_size=11, n_positions=8, n_embd=4, n_layer=2, n_head=1))
        benchmark_arms.with_method(model, {"seed": 0, "classes": 2, "method": method})
    assert benchmark_flops.needed(model, [[1, 2, 3]]) == (first, later)
    twice = benchmark_flops.needed(model, [[1, 2, 3], [1, 2, 3]])
    assert twice == (first + later, 2 * later)  # frozen blocks are needed once for messages that are alike


# Workers and rounds

FAKE = """
import json, sys
job = json.load(open(sys.argv[1]))
def say(message): print(json.dumps(message), flush=True)
say({"frozen_blocks": job.get("frozen", 0), "epoch_positions": 100, "loaded_mb": 1.0})
for line in sys.stdin:
    if job.get("bad") == "die": sys.exit("no room\\nfor more")
    if job.get("bad") == "chat": print("hello"); sys.stdout.flush(); continue
    if job.get("bad") == "fail": say({"error": "ValueError: too many ideas"}); sys.exit(1)
    wanted = json.loads(line)
    n = wanted["stop"] - wanted["start"]
    with open(job["log"], "a") as log: log.write(job["name"] + " ")
    say({"seconds": [job["cost"]] * n, "losses": [1.0] * n, "positions": 10 * n, "peak_mb": 2.0})
"""


@pytest.fixture
def fake(tmp_path, monkeypatch) -> str:
    """The name of a module that workers can run."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "fake.py").write_text(FAKE, encoding="utf-8")
    return "fake"


def test_arms_take_turns_and_pass_twice_over_frozen_blocks(fake, tmp_path):
    log = tmp_path / "log.txt"
    jobs = {name: (fake, {"name": name, "cost": cost, "log": str(log)}) for name, cost in (("a", 3.0), ("b", 2.0))}
    jobs["b"][1]["frozen"] = 2
    measured = measure("fake", jobs, {"a": 2, "b": 4}, 2, tmp_path)
    assert log.read_text().split() == ["a", "b", "b", "a"] * 2  # two rounds a pass, and the order turns
    chunks = [(r["pass"], r["start"], r["stop"]) for r in measured["b"]["records"]]
    assert chunks == [(0, 0, 2), (0, 2, 4), (1, 0, 2), (1, 2, 4)]
    summary = summarise(measured["a"], steps=10, tokens=50, flops=(600, 600), peak=100.0)
    assert summary["first_epoch"] == summary["later_epoch"] == pytest.approx(30)  # 6 s for 20 of 100 positions
    assert summary["five_epochs"] == pytest.approx(150) and summary["step_seconds"] == pytest.approx(3)
    assert summary["step_sd"] == 0 and summary["positions_per_token"] == 2 and summary["steps"] == 2
    assert summary["share_of_limit"] == pytest.approx(5 * 600 / 100 / 150)
    assert summary["tokens_per_second"] == pytest.approx(5 * 50 / 150)


def test_rounds_of_unequal_length():
    assert bounds(131, 4) == [0, 33, 66, 98, 131] and bounds(1, 3) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "bad, expected",
    [
        ("die", "arm x: its process ended with status 1 (for more)"),
        ("chat", "arm x: it answered 'hello', which is not JSON"),
        ("fail", "arm x: ValueError: too many ideas"),
    ],
)
def test_a_worker_that_fails_does_so_in_one_line(fake, tmp_path, bad, expected):
    worker = Worker("x", fake, {"bad": bad}, tmp_path)
    with pytest.raises(RunError) as raised:
        worker.ask(start=0, stop=1)
    worker.close()
    assert str(raised.value) == expected and worker.process.poll() is not None


@pytest.mark.slow
def test_an_arm_that_cannot_start_says_why_and_all_others_are_ended(fake, tmp_path, monkeypatch):
    processes = []
    popen = benchmark_rounds.subprocess.Popen

    def remembered(*args, **options):
        processes.append(popen(*args, **options))
        return processes[-1]

    monkeypatch.setattr(benchmark_rounds.subprocess, "Popen", remembered)
    lines = [
        "from benchmarking.worker import as_worker",
        "def life(job, say):",
        "    print('a library talks')",
        "    raise ValueError('no\\nroom')",
        "as_worker(life)",
    ]
    (tmp_path / "broken.py").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(RunError) as raised:
        measure("x", {"good": (fake, {}), "broken": ("broken", {})}, {"good": 1, "broken": 1}, 1, tmp_path)
    assert str(raised.value) == "arm broken: ValueError: no"
    assert len(processes) == 2 and all(process.poll() is not None for process in processes)


# The report


def summaries(ours: float, published: float) -> dict:
    cost = {OURS: ours, PUBLISHED: published}
    return {"lora": {"arms": {name: {"five_epochs": s, "peak_mb": 100.0} for name, s in cost.items()}}}


def test_targets_are_judged_for_the_size_they_were_set_for():
    shape = benchmark_report.TARGET_SHAPE
    assert "| at least 4 | 5.00 | met |" in benchmark_report.targets(summaries(10, 50), shape)
    assert "| at least 4 | 3.00 | missed by 25% |" in benchmark_report.targets(summaries(10, 30), shape)
    assert "transformers" not in benchmark_report.targets(summaries(10, 30), shape)  # not measured, not judged
    both = summaries(10, 50)
    both["lora"]["arms"][LIBRARY] = {"five_epochs": 15, "peak_mb": 125.0}
    text = benchmark_report.targets(both, shape)
    assert "| at least 1.6 | 1.50 | missed by 6% |" in text and "| at most 0.6 | 0.80 | missed by 33% |" in text
    assert "not judged" in benchmark_report.targets(both, {"n_layer": 6, "n_embd": 128})


def test_the_report_leaves_what_stands_around_it(tmp_path):
    machine = {"processor": "CPU", "cores": 2, "threads": 2, "system": "Linux", "python": "3", "torch": "2"}
    results = {"command": "python x", "date": "2026-01-01", "machine": machine, "model": "practice", "shape": {}}
    file = tmp_path / "p.md"
    file.write_text(f"Why\n\n{benchmark_report.BEGIN}old{benchmark_report.END}\n\nAfter\n", encoding="utf-8")
    benchmark_report.write(file, results)
    text = file.read_text(encoding="utf-8")
    assert text.startswith("Why\n\n<!--") and text.endswith("-->\n\nAfter\n") and "old" not in text
    assert "2 cores, 2 threads" in text and json.loads((tmp_path / "results/p.json").read_text()) == results


def test_scaling_and_generation_have_a_section_each(tmp_path, monkeypatch):
    tables = []
    for size in (40, 80):
        file = tmp_path / f"{size}.csv"
        frame = benchmark_scaling.synthetic_table(size)
        assert len(frame) == size and set(frame.label) == {"ham", "spam"}
        frame.to_csv(file, index=False)
        benchmark_scaling.one_table({"table": str(file), "model": "practice"}, tables.append)
        tables[-1]["messages"] = size
    assert [t["trained_on"] for t in tables] == [28, 56]
    assert tables[1]["kept_mb"] == pytest.approx(2 * tables[0]["kept_mb"], rel=0.1)  # one row a message
    assert "From 40 to 80 messages, time grows" in benchmark_scaling.report(tables)

    monkeypatch.setattr(benchmark_generation, "CASES", ((1, True, 4), (2, False, 3)))
    monkeypatch.setattr(benchmark_generation, "REPETITIONS", 1)
    cases = benchmark_generation.measure_generation("practice")["cases"]
    text = benchmark_generation.report(cases)
    assert "| 1 | on |" in text and "| 2 | off |" in text


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--methods", "dora"], "invalid choice: 'dora'"),
        (["--methods"], "nothing to measure"),
        (["--scaling", "100"], "not a rising list"),
        (["--scaling", "100,50"], "not a rising list"),
        (["--steps", "0"], "'0' is not a whole number of at least 1"),
        (["--model", "random:gpt3"], "choose one of random:practice, random:gpt2"),
        (["--model", "nowhere"], "no model 'nowhere'"),
        (["--out", "report.txt"], "a name that ends in .md"),
        (["--out", "README.md"], "exists without the lines"),
    ],
)
def test_wrong_inputs_get_one_line(command, arguments, expected, monkeypatch):
    monkeypatch.chdir(ROOT)
    result = command("benchmark", *arguments)
    assert result.status == 2 and expected in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_a_checkpoint_and_a_vocabulary_that_do_not_fit(command, checkpoint, tmp_path):
    result = command("benchmark", "--model", checkpoint / "model.safetensors")
    assert result.status == 2 and "no folder with a config.json" in result.err
    with pytest.raises(InputError, match="knows 97 tokens"):
        benchmark_methods.serve("practice", None, GPT2Config(vocab_size=97), tmp_path)


@pytest.mark.parametrize(
    "name, shapes, kind",
    [
        ("aten::mm", [[259, 768], [768, 3072]], "large matrix products"),
        ("aten::mm", [[259, 768], [768, 8]], "thin matrix products"),
        ("aten::addmm_", [[259, 768], [259, 8], [8, 768], [], []], "thin matrix products"),
        ("aten::addmm", [[768], [259, 768], [768, 768], [], []], "large matrix products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", [[]], "attention"),
        ("aten::gelu_backward", [[]], "GELU"),
        ("aten::sum", [[]], "everything else"),
    ],
)
def test_operations_are_put_into_classes(name, shapes, kind):
    assert benchmark_profile.classify_event(name, shapes) == kind


def test_operations_of_a_product():
    shapes = [[768], [5, 768], [768, 3072], [], []]
    assert benchmark_profile.product_operations("aten::addmm", shapes) == 2 * 5 * 768 * 3072


@pytest.mark.slow
def test_the_profile_sees_every_kind(served, checkpoint):
    measured = benchmark_profile.measure_profile("lora", served, checkpoint, TINY)
    assert set(measured["seconds"]) >= {"thin matrix products", "attention", "GELU", "optimizer"}
    assert measured["steps"] == benchmark_profile.STEPS and measured["tokens"] > 0
    text = benchmark_profile.report({"lora": measured})
    shares = [float(line.split("|")[2].strip(" %")) for line in text.splitlines() if line.endswith("% |")]
    assert sum(shares) == pytest.approx(100, abs=0.5)
