"""What a comparison says: a summary row for each method, and sentences that follow from the numbers."""

from dataclasses import dataclass

import pandas as pd

from common.markdown import plain
from comparison.baselines import TFIDF
from comparison.results import Results, rank_of
from comparison.significance import LEVEL, compare_all, pair, standard_error

UNCHANGED = 0.005  # nats per token: a smaller change of the language model's loss is called none


@dataclass
class Summary:
    """The main table, the tests, and what they are about."""

    methods: pd.DataFrame  # indexed by method, best first: means over the seeds
    baselines: pd.DataFrame  # indexed by name: accuracy, accuracy_sd, f1, f1_sd
    pairs: pd.DataFrame  # see compare_all
    ranks: pd.DataFrame  # method, rank, accuracy, accuracy_sd, seeds; empty without a rank sweep
    rank_pairs: dict[str, pd.DataFrame]  # method -> compare_all of its ranks
    sizes: dict[int, int]  # seed -> test messages

    @property
    def best(self) -> str:
        """Highest mean accuracy among the methods that have all seeds."""
        return self.methods.index[self.methods.seeds == self.methods.seeds.max()][0]

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
    groups = main.groupby("method", sort=False)
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
    for column in ("trainable_parameters", "share", "head", "merged"):
        methods[column] = groups[column].first()
    methods["flops"], methods["flops_merged"] = (
        groups[column].first() for column in ("extra_flops_per_token", "extra_flops_per_token_merged")
    )
    methods["family"] = [results.anatomies[method].family for method in methods.index]
    methods = methods.sort_values(["accuracy", "trainable_parameters"], ascending=[False, True])

    tested = [*methods.index, TFIDF]
    sweep = pd.DataFrame(
        [
            {"method": row.method, "rank": rank_of(row), "seed": row.seed, "accuracy": row.test_accuracy}
            for row in results.runs.itertuples()
            if row.method in set(results.runs[results.runs.rank_swept.notna()].method)
        ],
        columns=["method", "rank", "seed", "accuracy"],
    )
    # Only seeds that every rank of the method has: another seed is another split, easier or harder.
    complete = sweep.groupby(["method", "seed"])["rank"].transform("nunique")
    sweep = sweep[complete == sweep.groupby("method")["rank"].transform("nunique")]
    ranks = sweep.groupby(["method", "rank"], sort=True).accuracy.agg(["mean", "std", "size"]).reset_index()
    ranks.columns = ["method", "rank", "accuracy", "accuracy_sd", "seeds"]
    return Summary(
        methods,
        baseline_table(results.baselines),
        compare_all(results.correct[tested]),
        ranks,
        {method: compare_all(results.sweep.filter(regex=f"^{method}, ")) for method in dict.fromkeys(ranks.method)},
        results.correct.groupby(level="seed").size().to_dict(),
    )


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
    _, same, worse = summary.groups(best)
    sentences = [
        f"`{best}` has the highest mean test accuracy, {accuracy:.2%}. One accuracy of that height on {n:,} messages "
        f"has a standard error of {100 * standard_error(accuracy, n):.1f} points, so its lead has to be tested.",
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
    between = summary.pairs[(summary.pairs.a != TFIDF) & (summary.pairs.b != TFIDF)]
    if len(between):
        sentences.append(
            f"Of all {len(between)} pairs of methods, {int(between.differs.sum())} are shown to differ "
            f"(Holm-adjusted p below {LEVEL:g}); pairs.csv has every one."
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
        method
        for method in measured.index
        if (anatomy := results.anatomies[method]).family != "selective" or anatomy.trains == "head"
    ]
    sentences.append(
        f"All pretrained weights stay as they were with {listing(untouched)}: taken off again, these leave the "
        "language model of before."
    )
    return sentences


def rank_reading(summary: Summary) -> list[str]:
    """Is LoRA robust to its rank? For each scaling, the extremes and whether any two ranks are shown to differ."""
    sentences = []
    for method, part in summary.ranks.groupby("method"):
        top, bottom = part.loc[part.accuracy.idxmax()], part.loc[part.accuracy.idxmin()]
        pairs = summary.rank_pairs[method]
        differing = pairs[pairs.differs]
        found = (
            "no two ranks are shown to differ"
            if differing.empty
            else f"{len(differing)} of {len(pairs)} pairs of ranks are shown to differ ("
            + "; ".join(f"{row.a.split(', ')[1]} above {row.b.split(', ')[1]}" for row in differing.itertuples())
            + ")"
        )
        sentences.append(
            f"`{method}`: from {bottom.accuracy:.2%} (rank {bottom['rank']:.0f}) to {top.accuracy:.2%} "
            f"(rank {top['rank']:.0f}); {found}."
        )
    return sentences
