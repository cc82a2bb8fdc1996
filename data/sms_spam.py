"""The UCI SMS Spam Collection: 5,574 real text messages, each a line ``label <tab> text``, label ham or spam.

    Almeida, Gómez Hidalgo, Yamakami: Contributions to the study of SMS spam filtering (DocEng 2011)
    https://archive.ics.uci.edu/dataset/228/sms+spam+collection

There are three ways to cut it here, and the differences between them are a lesson in trusting a number.

``published`` repeats, row for row, the split of Raschka, Build a Large Language Model (From Scratch), 2024, chapter 6,
which others use too, so that their accuracies can be compared with ours. Two sources must not be mixed up: the book
publishes 97.21/97.32/95.67 % (training, validation, test) for the last block and 100.00/96.64/97.33 for LoRA, a 2024
article on PEFT with GPT-2 (the "source notes") 91.44/93.29/90.33 and 100.00/96.64/98.00. Both give 46.25/45.00/48.75
before tuning, over the first ten batches of each part (80 messages), not over all. The split has two flaws:

1. *Quoting.* pandas.read_csv takes a quotation mark at the start of a message for the start of a quoted cell. One
   message begins with a mark that is closed two lines later: three messages become one, and 5,572 rows are read
   from 5,574 lines, without a warning.
2. *Leakage.* People forward messages, and spammers send the same one to everybody. Split without removing repeats,
   37 of the 300 test messages (33 of them spam) also stand in the training set. A model that learned nothing but
   those by heart would have them right.

It also balances the classes (747 ham, 747 spam), so its accuracy is not that on a real day's messages, of
which one in seven or eight is spam.

``strict`` corrects all three: no quoting, duplicates removed *before* splitting, every message kept, so that the
test set has the natural proportion of spam. Accuracy then says little by itself (always answering "ham" is
right in 87 % of cases): read precision, recall, F1 and ROC AUC.

A third flaw is left. Spam is sent again with another number or prize: of 131 spam messages in strict's test part, 44
(seed 123) have a near-copy in the training part. ``grouped`` is strict with all near-copies in one part
(data/near_duplicates.py), so that nothing of the test data was read in training.
"""

import csv
from pathlib import Path

import pandas as pd

from data.download import local_or_download
from data.near_duplicates import groups
from data.splits import Splits, cut_in_order, grouped_split, stratified_split
from gpt2.errors import InputError

URL = "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip"
MEMBER = "SMSSpamCollection"
SHA256 = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"
PROTOCOLS = ("published", "strict", "grouped")


def find_file(assets: str | Path | None = None, timeout: float = 10.0) -> Path:
    """Return the path of the collection: ``<assets>/sms-spam/``, the cache, or downloaded (half a megabyte).

    Raises InputError for an unusable assets folder, RunError when the file is not available.
    """
    return local_or_download(f"sms-spam/{MEMBER}", URL, SHA256, MEMBER, assets, timeout)


def read_with_quoting(path: str | Path) -> pd.DataFrame:
    """Read the file as the book does, quotation marks taken for CSV quotes: 5,572 rows (flaw 1)."""
    return pd.read_csv(path, sep="\t", header=None, names=["label", "text"], encoding="utf-8")


def read_lines(path: str | Path) -> pd.DataFrame:
    """Read one message per line, quotation marks being plain text: 5,574 rows, 4,827 ham, 747 spam."""
    return pd.read_csv(
        path,
        sep="\t",
        header=None,
        names=["label", "text"],
        encoding="utf-8",
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
    )


def balance(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Draw as many ham as there are spam messages (747), and put all spam messages after them."""
    spam = frame[frame["label"] == "spam"]
    ham = frame[frame["label"] == "ham"].sample(len(spam), random_state=seed)
    return pd.concat([ham, spam])


def without_repeats(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the first of messages with exactly the same text: 5,171 remain, 4,518 ham and 653 spam.

    No text occurs under both labels, so which label a repeat carried does not matter. "Exactly" is a choice:
    eleven of the 653 spam texts repeat another one up to a space at an end, and are kept.
    """
    return frame.drop_duplicates("text", keep="first")


def published_split(path: str | Path, seed: int = 123) -> Splits:
    """Return train, validation, test of the book: 1,045, 149 and 300 messages.

    Columns ``text`` and ``label`` ("ham"/"spam"). The seed 123 belongs to the protocol; other seeds draw
    other ham messages and cut elsewhere, for comparisons that average over splits.
    """
    shuffled = balance(read_with_quoting(path), seed).sample(frac=1, random_state=seed).reset_index(drop=True)
    return cut_in_order(shuffled)


def strict_split(path: str | Path, seed: int = 123) -> Splits:
    """Return train, validation, test without repeats and at the natural ratio: 3,619, 517, 1,035 messages."""
    return stratified_split(without_repeats(read_lines(path)), seed)


def split(path: str | Path, protocol: str, seed: int = 123) -> Splits:
    """Return the split that ``protocol`` names. Raises InputError for another name."""
    if protocol == "published":
        return published_split(path, seed)
    if protocol == "strict":
        return strict_split(path, seed)
    if protocol == "grouped":
        messages = without_repeats(read_lines(path))
        return grouped_split(messages, groups(messages["text"].tolist()), seed)
    raise InputError(f"no protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}", "protocol")
