"""What the reports on classifiers and on models that write have in common."""

import datetime

import pandas as pd

from common.markdown import DASH, code_block, plain, table, unique
from comparison.results import conditions
from comparison.rows import base_name
from comparison.runs import without_folders


def heading_section(title: str, facts: list[str], record: dict, every: pd.DataFrame, shown: pd.DataFrame) -> list[str]:
    """Title, commands, the ``facts`` of this report, and those on how ``every`` run was carried out; of the machine's
    share, those ``shown``."""
    machine = record["machine"]
    facts = [
        *facts,
        f"{len(every)} runs, begun {record['started']}, reported {datetime.date.today():%Y-%m-%d}",
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}, PyTorch "
        f"{machine['torch']}; runs {conditions(shown)}",
    ]
    commands = "\n".join(dict.fromkeys(map(without_folders, record["commands"])))
    return [f"# {title}", code_block(commands), "\n".join(f"- {fact}" for fact in facts)]


def unfinished_section(unfinished: dict[str, str]) -> list[str]:
    """Runs that are not in the tables, and why."""
    if not unfinished:
        return []
    rows = "\n".join(f"- `{name}`: {plain(why)}" for name, why in unfinished.items())
    return [f"**Not finished, and so not in the tables:**\n\n{rows}"]


def settings_section(runs: pd.DataFrame, record: dict, remark: str) -> list[str]:
    """Base model, learning rate, options and best epochs of each row, and what the added ones are about."""
    columns = ["row", "method", "base model", "learning rate", "weight decay", "batch", "epochs", "best, by seed"]
    rows = []
    for name, part in runs.groupby("row", sort=False):
        base = plain(" or ".join(map(base_name, part.model.unique())))
        values = [unique(part[column]) for column in ("lr", "weight_decay", "batch_size", "epochs")]
        best = ", ".join(f"{row.best_epoch}" for row in part.itertuples())
        rows.append([f"`{name}`", part.method.iloc[0], base, *values, best, plain(unique(part.options)) or DASH])
    added = record.get("rows", {})
    abouts = [f"- `{name}`: {plain(added[name]['about'])}" for name in runs.row.unique() if name in added]
    return [
        "## Settings",
        *(["Rows that settings files have added (experiments/README.md):", "\n".join(abouts)] if abouts else []),
        remark,
        table([*columns, "options"], rows),
    ]
