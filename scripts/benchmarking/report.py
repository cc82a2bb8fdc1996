"""The benchmark's report: everything in it is computed from the raw numbers, which are written beside it."""

import json
import re
from pathlib import Path

from benchmarking import generation, profile, scaling, scoring, writing
from benchmarking.rounds import LIBRARY, OURS, PUBLISHED, disagreement, summarise
from common.markdown import code_block, counted, plain, plus_minus, table
from gpt2.errors import InputError
from gpt2.files import atomic_write

BEGIN, END = "<!-- scripts/benchmark.py writes from here -->", "<!-- to here -->"
HOW_TO_READ = """\
Every arm is a process of its own. *Seconds a step*: mean ± standard deviation over the rounds. *Five epochs*: the
first, and four like the second where frozen blocks make a second pass cheaper, else five like the first. *Positions a
token*: how many positions go through the blocks for each real token; 1 is no padding. *Peak*: the most memory
resident since the process began. *Of the arithmetic limit*: the time that the operations which the method needs would
take at the machine's peak, as a share of the time taken (counted in scripts/benchmarking/flops.py). The peak,
measured by float32 products of 2048 x 2048 matrices: {peak} GFLOP/s."""
TARGETS = (  # method, what, compared with, the figure to reach
    ("lora", "times faster than", PUBLISHED, 4.0),
    ("lora", "times faster than", LIBRARY, 1.6),
    ("selective", "times faster than", PUBLISHED, 15.0),
    ("head", "times faster than", PUBLISHED, 15.0),
    ("lora", "of the memory of", LIBRARY, 0.6),
    ("selective", "of the memory of", LIBRARY, 0.6),
    ("head", "of the memory of", LIBRARY, 0.6),
)
TARGET_SHAPE = {"n_layer": 12, "n_embd": 768}  # GPT-2 124M, for which they were set


def render(results: dict) -> str:
    """The report as Markdown."""
    parts = [setting(results)]
    if "methods" in results:
        peak = max(measured["peak_flops"] for measured in results["methods"].values())
        parts.append(HOW_TO_READ.format(peak=f"{peak / 1e9:,.0f}"))
        summaries = {method: summary(measured, peak) for method, measured in results["methods"].items()}
        parts += [targets(summaries, results["shape"])]
        parts += [arms(method, each["arms"], results["methods"][method]) for method, each in summaries.items()]
        parts += [switches(results["methods"], peak), agreement(results["methods"])]
    if "profiles" in results:
        parts.append(profile.report(results["profiles"]))
    if "scaling" in results:
        parts.append(scaling.report(results["scaling"]["tables"]))
    if "generation" in results:
        parts.append(generation.report(results["generation"]["cases"]))
    if "scoring" in results:
        parts.append(scoring.report(results["scoring"]))
    if "writing" in results:
        parts.append(writing.report(results["writing"]))
    return "\n\n".join(parts)


def setting(results: dict) -> str:
    """What was run, on which machine and which data."""
    machine = results["machine"]
    lines = [
        code_block(results["command"], "bash") + "\n",
        f"{results['date']}, {machine['processor']}, {counted(machine['cores'], 'core')}, "
        f"{counted(machine['threads'], 'thread')}, {machine['system']}, Python {machine['python']}, "
        f"PyTorch {machine['torch']}, float32. Model: {plain(results['model'])}.",
    ]
    if data := results.get("data"):
        lines[-1] += (
            f" Data: {plain(data['name'])}, {data['messages']:,} training messages of "
            f"{data['tokens'] / data['messages']:.1f} tokens on average, {data['longest']} at most; {data['batch']} a "
            "step."
        )
    return "\n".join(lines)


def summary(measured: dict, peak: float) -> dict[str, dict[str, dict]]:
    """``arms`` and ``switches`` of a method, summarised."""

    def each(group: str) -> dict:
        steps, tokens, flops = (measured[key] for key in ("epoch_steps", "epoch_tokens", "needed_flops"))
        return {name: summarise(arm, steps, tokens, flops, peak) for name, arm in measured[group].items()}

    return {"arms": each("arms"), "switches": each("switches")}


def targets(summaries: dict, shape: dict) -> str:
    """The section that compares what was measured with TARGETS."""
    head = "## Targets\n\n"
    if shape != TARGET_SHAPE:
        return head + "They were set for GPT-2 124M and are not judged on a model of another size."
    rows = []
    for method, what, other, target in TARGETS:
        arms = summaries.get(method, {}).get("arms", {})
        if other in arms:
            faster = what.startswith("times")
            figure = ratio(arms, other, "five_epochs") if faster else 1 / ratio(arms, other, "peak_mb")
            missed = (target - figure if faster else figure - target) / target
            verdict = "met" if missed <= 0 else f"missed by {missed:.0%}"
            wanted = f"{'at least' if faster else 'at most'} {target:g}"
            rows.append([f"`{method}`", f"{what} {other}", wanted, f"{figure:.2f}", verdict])
    columns = ["method", "five epochs, peak memory of the process", "target", "measured", "verdict"]
    return head + (table(columns, rows) if rows else "None of the measured methods has one.")


def ratio(arms: dict, other: str, figure: str) -> float:
    """How many times ours another arm's figure is."""
    return arms[other][figure] / arms[OURS][figure]


def arms(method: str, summarised: dict, measured: dict) -> str:
    """A method's section: a row for each arm."""
    columns = [
        "arm", "seconds a step", "an epoch, s", "later epochs, s", "five epochs, s", "tokens/s", "positions a token",
        "after loading, MB", "peak, MB", "time / ours", "memory / ours", "of the arithmetic limit",
    ]  # fmt: skip
    rows = []
    for name, s in summarised.items():
        sd = float("nan") if s["step_sd"] is None else s["step_sd"]
        rows.append(
            [
                name,
                plus_minus(s["step_seconds"], sd, digits=3),
                f"{s['first_epoch']:,.1f}",
                f"{s['later_epoch']:,.1f}",
                f"{s['five_epochs']:,.1f}",
                f"{s['tokens_per_second']:,.0f}",
                f"{s['positions_per_token']:.2f}",
                f"{s['loaded_mb']:,.0f}",
                f"{s['peak_mb']:,.0f}",
                f"{ratio(summarised, name, 'five_epochs'):.2f}",
                f"{ratio(summarised, name, 'peak_mb'):.2f}",
                f"{s['share_of_limit']:.0%}",
            ]
        )
    about = measured["arms"]
    ran = ", ".join(f"{name} {s['steps']}" for name, s in summarised.items())
    first, later = (f"{flops / 1e12:,.2f}" for flops in measured["needed_flops"])
    text = f"Steps run, of {measured['epoch_steps']} in an epoch: {ran}. Needed: {first} TFLOP in the first epoch"
    text += f", {later} in each later one." if first != later else " as in each later one."
    if LIBRARY in about:
        versions = about[LIBRARY]["about"]
        text += f" transformers {versions['transformers']}, peft {versions['peft']}."
    else:
        text += " transformers and peft are not installed, so that arm is left out."
    trained = ", ".join(f"{name} {arm['about']['trained']:,}" for name, arm in about.items())
    return f"## `{method}`\n\n{table(columns, rows)}\n\n{text} Parameters trained: {trained}."


def switches(methods: dict, peak: float) -> str:
    """The section on ours with one idea switched off."""
    rows = []
    for method, measured in methods.items():
        summarised = summary(measured, peak)["switches"]
        for name in summarised:
            if name != OURS:
                time, memory = ratio(summarised, name, "five_epochs"), ratio(summarised, name, "peak_mb")
                rows.append([f"`{method}`", measured["switch_texts"][name], f"{time:.2f}", f"{memory:.2f}"])
    text = "Ours with one idea switched off (or one option on), against ours as it is: five epochs, and peak memory."
    columns = ["method", "switched", "time / ours", "memory / ours"]
    return f"## What each step brings\n\n{text}\n\n{table(columns, rows)}"


def agreement(methods: dict) -> str:
    """Arms that trained on the same batches from the same start, against ours."""
    rows = []
    for method, measured in methods.items():
        arms, switched = measured["arms"], measured["switches"]
        others = {"padded batches, every position": (switched[OURS], switched["every-position"])}
        if LIBRARY in arms:
            others[LIBRARY] = (arms[OURS], arms[LIBRARY])
        for name, (ours, other) in others.items():
            # The library trains LoRA's head fully, ours by LoRA: only the first loss is before any update
            steps, largest = disagreement(ours, other, at_most=1 if (method, name) == ("lora", LIBRARY) else None)
            rows.append([f"`{method}`", name, f"{steps}", f"{largest:.1e}"])
    text = (
        "Largest relative difference between our loss and that of another arm, on the same batches, from the same head "
        "and the same start, in float32. For `lora` only the first step can be compared with the library, which trains "
        "the new head fully where ours gives it LoRA as well."
    )
    return f"## The losses agree\n\n{text}\n\n{table(['method', 'compared with', 'steps', 'difference'], rows)}"


def check_target(path: Path) -> None:
    """Raise InputError where the report could not be written without overwriting what somebody else wrote."""
    if path.suffix != ".md":
        raise InputError(f"--out {path}: the report is Markdown; give a name that ends in .md")
    if path.exists():
        read_frame(path)


def read_frame(path: Path) -> tuple[str, str]:
    """What stands before and after the report in the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--out {path} cannot be read ({error}); name another file") from error
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"--out {path} exists without the lines {BEGIN} and {END}; put them in, or name another file")
    return text[: text.index(BEGIN)], text[text.index(END) + len(END) :]


def write(path: Path, results: dict) -> None:
    """The report between its marks, leaving what is around them; the raw numbers to results/<name>.json beside it."""
    before, after = read_frame(path) if path.exists() else ("# Performance\n\n", "\n")
    raw = path.parent / "results" / f"{path.stem}.json"
    with atomic_write(raw) as temporary:
        text = json.dumps(results, indent=1, ensure_ascii=False)
        short = re.sub(r"\[[^\[\]{}]*\]", lambda numbers: " ".join(numbers[0].split()), text)  # a list in one line
        temporary.write_text(short + "\n", encoding="utf-8")
    raw_link = f"Raw numbers: [results/{raw.name}](results/{raw.name})."
    with atomic_write(path) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n\n{render(results)}\n\n{raw_link}\n\n{END}{after}", encoding="utf-8")
