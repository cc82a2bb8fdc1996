"""What a comparison says: a summary of each row, and sentences that follow from the numbers."""

from dataclasses import dataclass

import pandas as pd

import peft
from common.markdown import plain
from comparison.baselines import TFIDF
from comparison.results import Results
from comparison.rows import base_name
from comparison.significance import LEVEL, compare_all, effective_number, pair, standard_error, wilson

SCALINGS = {"lora": "lora, scaled by α/r", "rslora": "rslora, scaled by α/√r"}
UNCHANGED = 0.005  # nats per token: a smaller change of the language model's loss is called none


@dataclass
class Summary:
    """The main table, the tests, and what they are about."""

    methods: pd.DataFrame  # indexed by row, best first: means over the seeds
    baselines: pd.DataFrame  # indexed by name: accuracy, f1, their _sd, low and high
    pairs: pd.DataFrame  # see compare_all
    ranks: pd.DataFrame  # sweep, rank, row, accuracy, accuracy_sd, seeds; empty without a sweep over ranks
    rank_pairs: dict[str, pd.DataFrame]  # sweep -> compare_all of its ranks
    sizes: dict[int, int]  # seed -> test messages
    best: str  # highest mean accuracy among the rows that have all seeds
    effective: float  # independent messages of one seed that would say as much about it

    def verdict(self, name: str, against: str) -> pd.Series | None:
        return pair(self.pairs, name, against)

    def groups(self, against: str) -> tuple[list[str], list[str], list[str]]:
        """The methods shown to be better than ``against``, not shown to differ, and shown to be worse."""
        better, same, worse = [], [], []
        for method in self.methods.index:
            row = self.verdict(method, against)
            if method != against and row is not None:
                (same if not row.differs else better if row.a == method else worse).append(method)
        return better, same, worse


def summarise(results: Results) -> Summary:
    """Everything that the report compares, from the runs' rows."""
    main = results.main
    groups = main.groupby("row", sort=False)
    methods = pd.DataFrame({"seeds": groups.seed.nunique()})
    averaged = {
        "accuracy": "test_accuracy",
        "f1": "test_f1",
        "seconds": "seconds_per_epoch",
        "peak_mb": "peak_memory_mb",
        "bytes": "adapter_bytes",
        "after": "general_loss_after",
        "before": "general_loss_before",
    }
    for name, column in averaged.items():
        methods[name] = groups[column].mean()
        methods[f"{name}_sd"] = groups[column].std()  # of a sample: NaN for one seed
    for column in ("method", "model", "trainable_parameters", "share", "head", "merged"):
        methods[column] = groups[column].first()
    methods["flops"], methods["flops_merged"] = (
        groups[column].first() for column in ("extra_flops_per_token", "extra_flops_per_token_merged")
    )
    methods["family"] = [results.anatomies[row].family for row in methods.index]
    methods = methods.sort_values(["accuracy", "trainable_parameters"], ascending=[False, True])
    references = baseline_table(results.baselines)
    for part in (methods, references):
        found = [interval(results.correct[name]) for name in part.index]
        part["low"], part["high"] = zip(*found, strict=True)

    ranks = rank_table(results.runs)
    best = methods.index[methods.seeds == methods.seeds.max()][0]
    return Summary(
        methods,
        references,
        compare_all(results.correct[[*methods.index, TFIDF]]),
        ranks,
        {sweep: compare_all(results.correct[part.row]) for sweep, part in ranks.groupby("sweep", sort=False)},
        results.correct.groupby(level="seed").size().to_dict(),
        best,
        results.correct[best].dropna().groupby(level="seed").apply(effective_number).mean(),
    )


def interval(right: pd.Series) -> tuple[float, float]:
    """95 % interval of an accuracy, the answers to the test messages of all seeds taken together."""
    return wilson(right.mean(), effective_number(right))


def rank_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by rank of each method and learning rate that was swept; the method's own row has the default rank, and
    takes part where its learning rate is the same."""
    swept = runs[runs.rank_swept.notna() | (runs.row == runs.method)]
    groups = swept.groupby(["method", "lr"])
    swept = swept[groups.rank_swept.transform("count") > 0]
    defaults = [float(peft.METHODS[method].options["rank"].default) for method in swept.method]
    swept = swept.assign(
        rank=swept.rank_swept.fillna(pd.Series(defaults, swept.index, dtype=float)).astype(int),
        sweep=[f"{SCALINGS.get(m, m)}, learning rate {lr:g}" for m, lr in zip(swept.method, swept.lr, strict=True)],
    )
    # Only seeds that every rank of the sweep has: another seed is another split, easier or harder.
    complete = swept.groupby(["sweep", "seed"])["rank"].transform("nunique")
    swept = swept[complete == swept.groupby("sweep")["rank"].transform("nunique")]
    ranks = swept.groupby(["sweep", "rank", "row"]).test_accuracy.agg(["mean", "std", "size"]).reset_index()
    return ranks.set_axis(["sweep", "rank", "row", "accuracy", "accuracy_sd", "seeds"], axis=1)


def baseline_table(baselines: dict[int, dict]) -> pd.DataFrame:
    """Mean and standard deviation over the seeds, a row for each baseline."""
    names = next(iter(baselines.values()))
    values = {
        name: pd.DataFrame([of_seed[name]["metrics"] for of_seed in baselines.values()])[["accuracy", "f1"]]
        for name in names
    }
    return pd.DataFrame(
        {
            name: {
                "accuracy": t.accuracy.mean(),
                "accuracy_sd": t.accuracy.std(),
                "f1": t.f1.mean(),
                "f1_sd": t.f1.std(),
            }
            for name, t in values.items()
        }
    ).T


def listing(names: list[str]) -> str:
    """Names of methods in a sentence."""
    return ", ".join(f"`{name}`" for name in names) if names else "none"


def reading(summary: Summary) -> list[str]:
    """Sentences about accuracy, each from the tests."""
    best, methods = summary.best, summary.methods
    accuracy, n = methods.accuracy[best], round(sum(summary.sizes.values()) / len(summary.sizes))
    error = 100 * standard_error(accuracy, summary.effective)
    worth = f" (worth {summary.effective:,.0f} independent ones)" if summary.effective < 0.9 * n else ""
    _, same, worse = summary.groups(best)
    sentences = [
        f"`{best}` has the highest mean test accuracy, {accuracy:.2%}. One accuracy of that height on {n:,} "
        f"messages{worth} has a standard error of {error:.1f} points, so its lead has to be tested.",
    ]
    if same:
        sentences.append(f"**No difference from `{best}` shown** for {len(same)} of the others: {listing(same)}.")
        cheapest = methods.loc[[best, *same]].trainable_parameters.idxmin()
        fastest = methods.loc[[best, *same]].seconds.idxmin()
        sentences.append(
            f"Among these and `{best}`, `{cheapest}` trains the fewest parameters "
            f"({methods.trainable_parameters[cheapest]:,.0f}, {methods.share[cheapest]:.3%}) and `{fastest}` takes the "
            f"least time per epoch ({methods.seconds[fastest]:.1f} s)."
        )
    if worse:
        with_size = [f"`{m}` ({-100 * (accuracy - methods.accuracy[m]):+.1f} points)" for m in worse]
        sentences.append(f"**Shown to be worse than `{best}`**: {', '.join(with_size)}.")
    else:
        sentences.append(f"No method is shown to be worse than `{best}`.")
    better, same, worse = summary.groups(TFIDF)
    sentences.append(
        f"Against {TFIDF} ({summary.baselines.accuracy[TFIDF]:.2%}), which needs no neural network: shown better are "
        f"{listing(better)}; shown worse {listing(worse)}; no difference shown for {listing(same)}."
    )
    sentences += pretraining(summary)
    between = summary.pairs[(summary.pairs.a != TFIDF) & (summary.pairs.b != TFIDF)]
    if len(between):
        sentences.append(
            f"Of all {len(between)} pairs of rows, {int(between.differs.sum())} are shown to differ "
            f"(Holm-adjusted p below {LEVEL:g}); pairs.csv has every one."
        )
    return sentences


def pretraining(summary: Summary) -> list[str]:
    """A sentence for each row of another base model: how far is its method, with default options, above it?"""
    sentences = []
    for row, m in summary.methods[summary.methods.index != summary.methods.method].iterrows():
        other = summary.methods.loc[m.method] if m.method in summary.methods.index else None
        verdict = summary.verdict(row, m.method)
        if other is None or verdict is None or other.model == m.model:
            continue
        shown = f"shown, p = {verdict.p_holm:.2g}" if verdict.differs else "not shown"
        change = verdict.difference if verdict.a == m.method else -verdict.difference
        sentences.append(
            f"What the base model is worth to `{m.method}`: {other.accuracy:.2%} on {plain(base_name(other.model))}, "
            f"{m.accuracy:.2%} on {plain(base_name(m.model))} (`{row}`), {100 * change:+.1f} points; the difference is "
            f"{shown}."
        )
    return sentences


def forgetting(results: Results, summary: Summary, text: dict) -> list[str]:
    """Sentences about the language model's loss; ``text`` is general_text.json."""
    measured = summary.methods.dropna(subset=["after"])
    if measured.empty:
        return [
            "Not measured: no general text was at hand (`--general-text FILE`, or `--assets` with corpus/*.txt.xz)."
        ]
    change = (measured.after - measured.before).sort_values(ascending=False)
    unchanged = change[change.abs() < UNCHANGED].index.tolist()
    worst = change.index[0]
    files = ", ".join(map(plain, text.get("files", [])))
    sentences = [
        f"Before fine-tuning the language model's loss is {measured.before.iloc[0]:.3f} nats per token, on "
        f"{text['tokens']:,} tokens in windows of {text['width']} from {files}. Whether pretraining has seen this text "
        "is not checked: the change counts, not the level. The method stays in place, its classification head gives "
        "way to the tied language-model head.",
        f"Changed by less than {UNCHANGED:g}: {listing(unchanged)}.",
    ]
    if change.iloc[0] >= UNCHANGED:
        sentences.append(f"The largest rise is that of `{worst}`: {change.iloc[0]:+.3f}.")
    improved = change[change <= -UNCHANGED].index.tolist()
    if improved:
        sentences.append(f"Lower than before: {listing(improved)}.")
    untouched = [
        row
        for row in measured.index
        if (anatomy := results.anatomies[row]).family != "selective" or anatomy.trains == "head"
    ]
    sentences.append(
        f"All pretrained weights stay as they were with {listing(untouched)}: taken off again, these leave the "
        "language model of before."
    )
    return sentences


def rank_reading(summary: Summary) -> list[str]:
    """Is LoRA robust to its rank? For each scaling, the extremes and whether any two ranks are shown to differ."""
    sentences = []
    for sweep, part in summary.ranks.groupby("sweep"):
        top, bottom = part.loc[part.accuracy.idxmax()], part.loc[part.accuracy.idxmin()]
        pairs, rank = summary.rank_pairs[sweep], dict(zip(part.row, part["rank"], strict=True))
        differing = pairs[pairs.differs]
        found = (
            "no two ranks are shown to differ"
            if differing.empty
            else f"{len(differing)} of {len(pairs)} pairs of ranks are shown to differ ("
            + "; ".join(f"rank {rank[row.a]} above rank {rank[row.b]}" for row in differing.itertuples())
            + ")"
        )
        sentences.append(
            f"{sweep}: from {bottom.accuracy:.2%} (rank {bottom['rank']:.0f}) to {top.accuracy:.2%} "
            f"(rank {top['rank']:.0f}); {found}."
        )
    return sentences
