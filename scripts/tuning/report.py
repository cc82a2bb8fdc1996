"""report.md of a sweep of learning rates: what was tried, what was measured, and sentences on the numbers."""

from pathlib import Path

import numpy as np
import pandas as pd

import peft
from common.markdown import DASH, code_block, plain, table
from comparison.summary import listing
from data import Dataset
from data.baselines import STRENGTHS, tfidf_models, validation_losses
from gpt2.files import atomic_write
from tuning.plots import curves, forgetting
from tuning.studies import Study
from tuning.sweep import best_rate, mean_losses, size_option

OTHERS = "Other ranks and sizes were not tried (`--sizes`)"
FLAT = 1.10  # a loss at most so many times the lowest counts as about as good
RELATIVES = ("lora", "rslora", "dora", "dylora", "minlora", "qlora")  # of LoRA, the question of ten times


def optimum(losses: pd.Series) -> float:
    """The learning rate at the lowest point of a parabola through the best rate and its two neighbours, in log(lr) and
    log(loss): finer than the grid. ``losses``: lr -> loss, without gaps around the best."""
    rates = losses.dropna().index.to_numpy()
    middle = int(np.clip(np.searchsorted(rates, best_rate(losses)), 1, len(rates) - 2))
    x = np.log(rates[middle - 1 : middle + 2])
    a, b, _ = np.polyfit(x, np.log(losses.dropna().to_numpy()[middle - 1 : middle + 2]), 2)
    return float(np.exp(np.clip(-b / (2 * a), x[0], x[-1]))) if a > 0 else best_rate(losses)


def write_report(out: Path, trials: pd.DataFrame, study: Study, before: float | None, facts: dict) -> Path:
    """Write report.md and its pictures; returns its path.

    before   the language model's loss on the general text before any training; None: not measured
    facts    "model", "command" and "machine": what the report says of them
    """
    losses = mean_losses(trials)
    methods = [method for method in peft.METHODS if method in set(trials.method)]
    best = {method: best_rate(losses[method, ""]) for method in methods}
    curves(trials, best, study, out / "rates.png")
    sections = [
        *heading(trials, study, facts),
        "## The rates",
        rates_table(trials, losses, best, study),
        f"*Best*: the rate with the lowest validation loss, in nats per {study.unit} (mean of the seeds). *About as "
        f"good*: from the lowest to the highest rate whose loss is at most {FLAT - 1:.0%} higher. *Optimum*: the "
        "lowest point of a parabola through the best rate and its neighbours, on logarithmic axes. "
        f"{' and '.join(f'*{name}*' for name in study.measured.values())}: at the best rate, on the same validation "
        "data. These data have chosen the rate, so this is no test result. `minlora` computes the same as `lora`.",
        "![Validation loss against learning rate, a panel for each method](rates.png)",
        *ten_times(losses, best),
        *sizes(losses, best),
    ]
    if before is not None:
        forgetting(trials, before, best, out / "forgetting.png")
        sections += [
            "## Accuracy against forgetting",
            f"The language model's loss on general text is {before:.3f} nats per token before any training. "
            "*Forgetting* is the rise of this loss. Each point is a method at one learning rate; large points are the "
            "chosen rates.",
            forgetting_sentence(trials, before, best),
            "![Validation accuracy against forgetting](forgetting.png)",
        ]
    file = out / "report.md"
    with atomic_write(file) as temporary:
        temporary.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return file


def heading(trials: pd.DataFrame, study: Study, facts: dict) -> list[str]:
    """What was tried, on what, and what it cost."""
    seeds = sorted(trials.seed.unique())
    what = f"seeds {', '.join(map(str, seeds))}"
    if len(seeds) == 1:
        what = f"one seed ({seeds[0]}), so each choice has the noise of a single training"
    steps = f"at least {trials.steps.iloc[0]:,} steps, in whole epochs: {trials.epochs.iloc[0]:,.0f}"
    lines = [
        f"model `{plain(facts['model'])}`; {steps}; batches of 8; {what}",
        f"data: {study.about}",
        f"{study.grid_in_words}. Where the best rate is at an end, the next one beyond is tried too. "
        + ("Another rank or size is tried at the best rate and its two neighbours" if trials.option.any() else OTHERS),
        f"cost: {len(trials):,} trainings, {trials.seconds.sum() / 3600:.1f} hours added up (too many where other "
        f"programs ran beside); {facts['machine']}",
    ]
    return [f"# {study.title}", code_block(facts["command"]), "\n".join(f"- {x}" for x in lines)]


def rates_table(trials: pd.DataFrame, losses: pd.Series, best: dict[str, float], study: Study) -> str:
    """A row a method, and TF-IDF with the strength of its regularisation."""
    columns = ["method", "best", "about as good", "optimum", "loss"]
    columns += [f"{name}, %" for name in study.measured.values()] + ["trainings", "minutes"]
    rows = []
    for method, rate in best.items():
        of_method = losses[method, ""]
        good = of_method[of_method <= FLAT * of_method.min()].index
        own = trials[trials.method == method]
        at_best = own[(own.lr == rate) & (own.option == "")]
        span = f"{good.min():g} to {good.max():g}" if len(good) > 1 else f"{rate:g}"
        cells = [f"`{method}`", f"{rate:g}", span, f"{optimum(of_method):.2g}", f"{of_method[rate]:.3f}"]
        cells += [f"{100 * at_best[name].mean():.1f}" for name in study.measured]
        rows.append([*cells, f"{len(own)}", f"{own.seconds.sum() / 60:.1f}"])
    if study.dataset is not None:
        rows.append(tfidf_row(study.dataset))
    return table(columns, rows)


def tfidf_row(dataset: Dataset) -> list[str]:
    """The strength of TF-IDF's regularisation, in the columns of a learning rate."""
    strengths = pd.Series(validation_losses(dataset, *tfidf_models(dataset)))
    best, lowest = strengths.idxmin(), strengths.min()
    good = strengths[strengths <= FLAT * lowest].index
    name, span = "*TF-IDF + logistic regression*, C", f"{good.min():g} to {good.max():g}"
    return [name, f"{best:g}", span, DASH, f"{lowest:.3f}", DASH, DASH, f"{len(STRENGTHS)}", DASH]


def ten_times(losses: pd.Series, best: dict[str, float]) -> list[str]:
    """Is LoRA's best rate ten times that of full fine-tuning?"""
    found = [method for method in RELATIVES if method in best]
    if "full" not in best or not found:
        return []
    full = optimum(losses["full", ""])
    ratios = {method: optimum(losses[method, ""]) / full for method in found}
    said = ", ".join(f"`{method}` {ratio:.1f}" for method, ratio in ratios.items())
    return [
        "## Is LoRA's best rate ten times that of full fine-tuning?",
        "Schulman et al. (*LoRA Without Regret*, Thinking Machines, 2025) find a factor of about ten for models of the "
        f"Llama and Qwen families. The optimum of full fine-tuning is {full:.2g} here, and the factors are: {said}. "
        "The grid has steps of a factor of three, so these factors are rough. "
        + f"For `{found[0]}`, a factor of ten is "
        + ("neither shown nor excluded. " if 3 <= ratios[found[0]] <= 20 else "unlikely. ")
        + "The factor also depends on the scale of the update: alpha/rank, here 1; for `rslora` alpha/√rank, here 2.8.",
    ]


def sizes(losses: pd.Series, best: dict[str, float]) -> list[str]:
    """The best rate of each method's other size, where it was tried."""
    tried = {m: o for m in best if (o := size_option(m)) and (m, o) in losses.index.droplevel("lr")}
    if not tried:
        return []
    rows = []
    for method, option in tried.items():
        name, value = option.split("=")
        default = peft.METHODS[method].options[name].default
        here, other = losses[method, ""], losses[method, option]
        row = [f"`{method}`", name, f"{default}", f"{best[method]:g}", f"{here.min():.3f}", value]
        rows.append([*row, f"{best_rate(other):g}", f"{other.min():.3f}"])
    moved = [row[0] for row in rows if row[3] != row[6]]
    return [
        "## Does the size change the rate?",
        table(["method", "size", "default", "best rate", "loss", "other", "best rate ", "loss "], rows),
        f"The best rate on the grid is the same for {len(rows) - len(moved)} of {len(rows)} methods. It differs for: "
        f"{listing([row.strip('`') for row in moved])}.",
    ]


def forgetting_sentence(trials: pd.DataFrame, before: float, best: dict[str, float]) -> str:
    """How much the chosen rates forget, and how forgetting depends on the rate."""
    means = trials[trials.option == ""].groupby(["method", "lr"]).general_loss.mean() - before
    chosen = pd.Series({method: means[method, rate] for method, rate in best.items()}).dropna().round(4).sort_values()
    steps = [means[method].dropna().sort_index() for method in best]
    rising = sum(bool((step.diff().dropna() > 0).mean() >= 0.8) for step in steps if step.max() > 0.01)
    changing = sum(bool(step.max() > 0.01) for step in steps)
    return (
        f"At the chosen rates, `{chosen.index[0]}` forgets least ({chosen.iloc[0] + 0.0:+.3f}) and "
        f"`{chosen.index[-1]}` most ({chosen.iloc[-1]:+.3f}). {changing} of the {len(best)} methods forget "
        f"more than 0.01 nats per token at some rate. For {rising} of these, at least 80 % of the "
        "increases of the rate raise the loss."
    )
