"""What can and cannot be concluded: sentences that follow from the numbers, and from nothing else."""

import pandas as pd

from common.markdown import counted, points
from comparison.significance import LEVEL, holm
from reproduction.evidence import fisher, smallest_shown
from reproduction.results import Results, spread
from reproduction.rows import rows

STAND_IN = {
    "random": "Random weights stood in for GPT-2's, so **the accuracies mean nothing as a reproduction** (but for "
    "`extra-10`, which was published with random weights). Time and memory are real: the models have their published "
    "sizes.",
    "practice": "The small practice model stood in for GPT-2, so **the accuracies mean nothing as a reproduction**. "
    "Time and memory are real too, but those of a model of 7.7 million parameters.",
    "pretrained": "",
}
SMOKE = (
    "This was a smoke run (`--smoke`): one epoch on a tenth of the messages shows that every row runs. **Its "
    "accuracies mean nothing as a reproduction.**"
)


def warnings(record: dict) -> list[str]:
    """What has to stand above everything else: that something stood in for the real thing."""
    settings = record["settings"]
    found = [STAND_IN[settings["weights"]], SMOKE if settings["smoke"] else ""]
    return [sentence for sentence in found if sentence]


def conclude(results: Results) -> list[str]:
    """All sentences, the most important first."""
    tested = results.compared[results.compared.p.notna()]
    if tested.empty:
        why = "; see the remark at the top" if warnings(results.record) else ": no run is on the published split"
        return [f"**Nothing can be concluded about the published figures**{why}."]
    return [
        *only_these(results, tested),
        *consistent(tested),
        *resolution(tested),
        *luck(results),
        *without_leaks(results),
        *against_words(results),
    ]


def only_these(results: Results, tested: pd.DataFrame) -> list[str]:
    """How much of the published table was repeated."""
    names, every = tested.row.unique(), rows(results.data)
    copied = results.compared[results.compared.copied].row.unique()
    repeated = {row.id for row in every.values() if row.id in names or row.id in copied}
    sentences = []
    if len(repeated) < len(every):
        sentences.append(
            f"{len(repeated)} of the {len(every)} published rows {'was' if len(repeated) == 1 else 'were'} repeated. "
            "Nothing is said about the others."
        )
    stand_ins = results.compared[~results.compared.genuine].row.unique()
    if len(stand_ins):
        sentences.append(
            f"Only {listing(names)} can be compared: "
            + ("it was" if len(names) == 1 else "they were")
            + " published with random weights. In the other rows something stood in for the pretrained weights."
        )
    return sentences


def consistent(tested: pd.DataFrame) -> list[str]:
    """Which rows are consistent with what was published, and which are not."""
    differing = tested[tested.differs]
    names, wrong = tested.row.unique(), differing.row.unique()
    how = f"Fisher's exact test, {counted(len(tested), 'test')}, Holm-adjusted p below {LEVEL:g}"
    if not len(wrong):
        who = f"All {len(names)} rows are" if len(names) > 1 else "The only row is"
        return [f"**{who} consistent with the published figures**: no difference is shown ({how})."]
    shown = "; ".join(
        f"`{line.row}`, {line.part}: published {line.published:.2%}, measured {line.measured:.2%} "
        f"({points(line.difference)} points, p = {line.p_holm:.2g})"
        for line in differing.itertuples()
    )
    good = len(names) - len(wrong)
    sentences = [
        f"**{good} of {len(names)} rows are consistent with the published figures, {len(wrong)} "
        f"{'is' if len(wrong) == 1 else 'are'} not** ({how}). Shown to differ: {shown}."
    ]
    below, above = (differing.difference < 0).sum(), (differing.difference > 0).sum()
    if len(wrong) > 1 and min(below, above) == 0:
        sentences.append(
            f"All of these are {'below' if below else 'above'} the published figures. So look for one cause that they "
            "share, such as the weights or the recipe, before you doubt single figures."
        )
    sentences.append(
        "A difference does not say who is right. Check the model first, with `--golden`; then repeat with more "
        "`--seeds`."
    )
    return sentences


def resolution(tested: pd.DataFrame) -> list[str]:
    """How small a difference these tests could have shown."""
    test = tested[tested.part == "test"]
    if test.empty:
        return []
    middle = test.sort_values("published", kind="stable").iloc[len(test) // 2]
    drop = smallest_shown(int(middle.published_right), int(middle.published_n), len(tested))
    mean, above, below = test.difference.mean(), (test.difference > 0).sum(), (test.difference < 0).sum()
    sentences = [
        f"Consistent does not mean equal. With {middle.published_n:.0f} test messages and "
        f"{counted(len(tested), 'test')}, only a drop of {100 * drop:.1f} points or more from `{middle.row}`'s "
        f"{middle.published:.2%} would have been shown."
    ]
    if len(test) > 1:
        sentences.append(
            f"Over {len(test)} rows, the measured test accuracy is {points(mean)} points from the published one on "
            f"average; {above} above, {below} below."
        )
    return sentences


def luck(results: Results) -> list[str]:
    """What other seeds show."""
    table = spread(results.genuine[results.genuine.protocol == "published"])
    if table.empty:
        return [
            "Each figure, published or measured, is of one seed. How far luck alone moves them is not known from this; "
            "`--seeds 3` shows it."
        ]
    seeds = f"{table.seeds.min()}" if table.seeds.min() == table.seeds.max() else f"{table.seeds.min()} or more"
    largest = table.loc[(table.high - table.low).idxmax()]
    return [
        f"Over {seeds} seeds the test accuracy has a standard deviation of {100 * table.sd.median():.2f} points "
        f"(median of {counted(len(table), 'row')}); the widest range is that of `{largest.row}`, from "
        f"{largest.low:.2%} to {largest.high:.2%}. The published accuracy lies within the range of "
        f"{table.within.sum()} of {counted(len(table), 'row')}. Differences between rows that are no larger than such "
        "ranges may be luck."
    ]


def without_leaks(results: Results) -> list[str]:
    """The published split against the leak-free one."""
    means = results.genuine.groupby(["protocol", "row"])[["test_accuracy", "test_f1"]].mean()
    if {"published", "grouped"} - set(means.index.get_level_values("protocol")):
        return ["The leak-free split was not measured for rows of the published one; `--protocol both` does that."]
    parts = [means.loc[protocol].add_suffix(f"_{protocol}") for protocol in ("published", "grouped")]
    both = parts[0].join(parts[1], how="inner")
    if both.empty:
        return ["No row was measured on both splits."]
    change = (both.test_f1_grouped - both.test_f1_published).mean()
    if results.data != "sms":
        change = (both.test_accuracy_grouped - both.test_accuracy_published).mean()
        return [
            f"On the grouped split, test accuracy is {points(change)} points from that on the published split (mean of "
            f"{counted(len(both), 'row')}). Two things change at once: no film is in two parts, and there are fewer "
            "reviews to train on."
        ]
    return [
        f"On the leak-free split, F1 of spam is {points(change)} points from that on the published split (mean of "
        f"{counted(len(both), 'row')}). Two things change at once: no message stands in two parts, and spam is one "
        "message in eight instead of one in two. So this is not the effect of the leaks alone, and accuracies of the "
        "two splits cannot be compared."
    ]


def against_words(results: Results) -> list[str]:
    """Are the rows better than counting words?"""
    sentences = []
    for protocol, metrics in results.baselines.items():
        runs = results.genuine[results.genuine.protocol == protocol]
        runs = runs[runs.row.map(lambda name: rows()[name].trains)]
        runs = runs.sort_values("seed", kind="stable").drop_duplicates("row")
        if "missing" in metrics or runs.empty:
            continue
        words, n = metrics["test"]["accuracy"], int(metrics["test"]["n"])
        right = round(words * n)
        p_values = [
            fisher(round(run.test_accuracy * run.test_n), int(run.test_n), right, n) for run in runs.itertuples()
        ]
        groups: dict[str, list[str]] = {"better": [], "worse": [], "same": []}
        for run, p in zip(runs.itertuples(), holm(p_values), strict=True):
            verdict = "same" if p >= LEVEL else "better" if run.test_accuracy > words else "worse"
            groups[verdict].append(run.row)
        sentences.append(
            f"Counting words (TF-IDF + logistic regression) reaches {words:.2%} on the {n:,} test messages of the "
            f"{protocol} split. Shown better than that: {listing(groups['better'])}. Shown worse: "
            f"{listing(groups['worse'])}. For {'the others' if len(groups['same']) < len(p_values) else 'all rows'} "
            "no difference is shown."
        )
    return sentences


def listing(names: list[str]) -> str:
    """Rows in a sentence."""
    return ", ".join(f"`{name}`" for name in names) if len(names) else "none"
