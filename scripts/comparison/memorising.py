"""What is memorising worth? Recall on test messages with a near-copy in the training data, and on the rest.

Whoever has learned a message by heart has its near-copy right without having understood anything. So the recall on the
rest is what to expect of new messages, and what the recall on all messages is above it, near-copies have given. Of data
without a positive class, the accuracy.
"""

import pandas as pd

from common.markdown import code, plain, plus_minus, points, table
from comparison.baselines import MAJORITY, TFIDF, UNTUNED
from comparison.messages import Messages


def recalls(correct: pd.DataFrame, messages: Messages) -> pd.DataFrame:
    """Shares of right answers, means over the seeds: copies, rest, all, and their _sd; a row for each column of
    ``correct``. Only seeds with messages of both kinds count."""
    about = messages.table.loc[correct.index.droplevel("unit")]
    asked = (about.label == messages.positive if messages.positive else about.label.notna()).to_numpy()
    near = about.near.astype(bool).to_numpy()
    chosen = {"copies": asked & near, "rest": asked & ~near, "all": asked}
    by_seed = {name: correct[part].groupby(level="seed").mean() for name, part in chosen.items()}
    both = by_seed["copies"].index.intersection(by_seed["rest"].index)
    means = {name: part.loc[both].mean() for name, part in by_seed.items()}
    return pd.DataFrame(means | {f"{name}_sd": part.loc[both].std() for name, part in by_seed.items()})


def leakage(messages: Messages) -> pd.DataFrame:
    """Test messages of each class (n), and the exact and near copies among them, means over the seeds."""
    counted = messages.table.assign(n=1).groupby(["seed", "label"])[["n", "exact", "near"]].sum()
    return counted.astype(float).groupby(level="label").mean()


def memorising_section(correct: pd.DataFrame, messages: Messages, names: list[str]) -> list[str]:
    """The section of the report; ``names``: columns of ``correct`` in the order of the main table."""
    title = "## What memorising is worth"
    if messages.table.near.isna().any():
        return [title, "Not measured: to look for copies among so many messages would take long."]
    leaks = leakage(messages)
    if not leaks.near.any():
        why = " (the split keeps near-copies in one part)" if messages.unit == "group" else ""
        return [title, f"No test message has an exact or near copy in training{why}: learning by heart gains nothing."]
    rows = [[code(str(label)), *(f"{value:,.1f}" for value in leak)] for label, leak in leaks.iterrows()]
    text = [
        title,
        "Test messages with a copy among the training messages (data/near_duplicates.py), means over the seeds:",
        table(["class", "test messages", "exact copies", "near-copies, exact ones included"], rows),
    ]
    asked = leaks.loc[messages.positive] if messages.positive else leaks.sum()
    if asked.near in (0, asked.n):
        share = "None" if asked.near == 0 else "All"
        return [*text, f"{share} of class {code(str(messages.positive))} have a near-copy: nothing can be compared."]
    what = f"recall of {plain(messages.positive)}" if messages.positive else "accuracy"
    found = recalls(correct[names], messages)
    rows = [
        [
            f"*{name}*" if name in (MAJORITY, TFIDF, UNTUNED) else code(name),
            plus_minus(row.copies, row.copies_sd, 100),
            plus_minus(row["rest"], row.rest_sd, 100),
            points(row["all"] - row["rest"]),
        ]
        for name, row in found.iterrows()
    ]
    columns = ["", f"on near-copies (n = {asked.near:,.1f})", f"on the rest (n = {asked.n - asked.near:,.1f})"]
    return [
        *text,
        "\n".join(f"- {sentence}" for sentence in reading(found, what)),
        table([*columns, "all above the rest, points"], rows),
        f"{what[0].upper()}{what[1:]} in percent, means ± standard deviations over the seeds; n: mean number of "
        "messages. The last column is what near-copies add to the figure of all test messages.",
    ]


def reading(found: pd.DataFrame, what: str) -> list[str]:
    """Sentences that follow from ``recalls``; the best method is the first."""
    learned = found.drop(index=[MAJORITY, UNTUNED], errors="ignore")
    best = next(name for name in learned.index if name != TFIDF)
    gap, gain = learned.copies - learned["rest"], learned["all"] - learned["rest"]
    both = ((TFIDF, learned.loc[TFIDF]), (code(best), learned.loc[best]))
    return [
        *(f"{name}: {what} {row.copies:.1%} on near-copies, {row['rest']:.1%} on the rest." for name, row in both),
        f"{(gap > 0).sum()} of {len(gap)} rows that have learned from the training data are better on near-copies than "
        f"on the rest; the mean difference is {100 * gap.mean():+.1f} points, and near-copies change the figure of all "
        f"messages by {100 * gain.mean():+.1f} points in the mean.",
    ]
