"""outputs.md of a comparison of methods that learn to write: some texts of each method, beside texts by people."""

import json

import pandas as pd

from common.markdown import DASH, counted, plain, table
from common.writing import evenly_spaced
from comparison.text_results import TextResults

OUTPUTS = 5  # texts of each method, where there are so many sources


def outputs(results: TextResults, summary: pd.DataFrame) -> str:
    """outputs.md: the first seed's texts, for the same sources with every method."""
    seed = results.main.seed.min()
    tables = {row.row: results.texts[row.run] for row in results.main[results.main.seed == seed].itertuples()}
    first = next(iter(tables.values()))
    chosen = evenly_spaced(len(first), OUTPUTS)
    parts = [
        f"# {counted(len(chosen), 'text')} of each method",
        f"Seed {seed}; test sources of [the comparison](report.md), evenly spaced; methods in the order of mean BLEU. "
        "Look for wrong facts: the measures compare words, not facts.",
    ]
    for i in chosen:
        people = json.loads(first.references[i])
        rows = [[f"`{name}`", plain(tables[name].written[i]) or DASH] for name in summary.index if name in tables]
        rows += [[f"*{name}*", plain(found["texts"][i]) or DASH] for name, found in results.baselines.items()]
        rows.append([f"people (one of {len(people)})", plain(people[0])])
        parts += [f"## {plain(first.source[i])}", table(["written by", "text"], rows)]
    return "\n\n".join(parts) + "\n"
