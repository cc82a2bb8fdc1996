"""The Large Movie Review Dataset: 50,000 film reviews from IMDb, half of them positive (7 to 10 stars), half negative
(1 to 4 stars).

    Maas, Daly, Pham, Huang, Ng, Potts: Learning Word Vectors for Sentiment Analysis (ACL 2011)
    https://ai.stanford.edu/~amaas/data/sentiment/

    aclImdb_v1.tar.gz   aclImdb/train/pos/4715_9.txt     review 4,715 of the positive ones to train on, nine stars
                        aclImdb/train/urls_pos.txt       line 4,715, counted from 0: the page of its film
                        aclImdb/train/unsup/…            50,000 without a label, which are not read

The archive is 84 MB. It is read member by member, and nothing of it is written to the disk.

There are three ways to cut the reviews, named as those of the SMS data (data/sms_spam.py):

``published`` repeats the split of Raschka, Build a Large Language Model (From Scratch), bonus material of chapter 6
(ch06/03_bonus_imdb-classification): all 50,000 are shuffled together and cut 70/10/20, into 35,000, 5,000 and 10,000.
He publishes test accuracies of 91.88 % for GPT-2 124M with all weights trained, and 88.85 % for a bag of words with
logistic regression. A flaw: reviews of one film are in all three parts, so names of actors can give answers away.

``strict`` is the split of Maas et al.: 25,000 to train and 25,000 to test, with no film in both. A tenth of the
training reviews, drawn by the seed, validates. Of equal training reviews one is kept, and none that is also in the test
part.

``grouped`` is strict, with no film in both the training and the validation part either.

Near-copies are not looked for: that takes too long for texts of this length and number.
"""

import re
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from data.download import local_or_download
from data.splits import VALIDATION, Splits, cut_in_order
from gpt2.errors import InputError

URL = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
SHA256 = "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"
ARCHIVE = "aclImdb_v1.tar.gz"
REVIEWS = 50_000
REVIEW = re.compile(r"aclImdb/(train|test)/(pos|neg)/((\d+)_\d+\.txt)")
FILMS = re.compile(r"aclImdb/(train|test)/urls_(pos|neg)\.txt")


def find_file(assets: str | Path | None = None, timeout: float = 10.0) -> Path:
    """Return the path of the archive: ``<assets>/imdb/``, the cache, or downloaded (84 MB).

    Raises InputError for an unusable assets folder, RunError when the file is not available.
    """
    return local_or_download(f"imdb/{ARCHIVE}", URL, SHA256, assets=assets, timeout=timeout)


def read_reviews(path: str | Path) -> pd.DataFrame:
    """The labelled reviews of the archive: ``part`` (train or test), ``label`` (pos or neg), ``film`` and
    ``text``, in the order that the published split begins with.

    Raises InputError when the archive is damaged or has no reviews.
    """
    rows, films = [], {}
    try:
        with tarfile.open(path, "r|gz") as archive, bar() as progress:
            for member in archive:
                review, pages = REVIEW.fullmatch(member.name), FILMS.fullmatch(member.name)
                if not member.isreg() or not (review or pages):
                    continue
                text = archive.extractfile(member).read().decode("utf-8")  # type: ignore[union-attr]
                if pages:
                    films[pages.groups()] = text.split()
                else:
                    rows.append([*review.groups(), text])  # type: ignore[union-attr]
                    progress.update()
    except (tarfile.TarError, EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); replace it by an unchanged copy of {URL}") from error
    frame = pd.DataFrame(rows, columns=["part", "label", "file", "number", "text"])
    if frame.empty:
        raise InputError(f"{path} has no reviews such as aclImdb/train/pos/0_9.txt; it is not the published archive")
    frame["film"] = [film_of(films, *row) for row in zip(frame["part"], frame["label"], frame["number"], strict=True)]
    frame = frame.sort_values(["part", "label", "file"], ascending=[True, False, True])  # test first, and pos
    return frame[["part", "label", "film", "text"]].reset_index(drop=True)


def bar() -> tqdm:
    """Reading takes seconds."""
    return tqdm(total=REVIEWS, desc="reading reviews", unit="review", leave=False, disable=None)


def film_of(films: dict[tuple[str, ...], list[str]], part: str, label: str, number: str) -> str:
    """IMDb's name for a review's film, such as tt0453418; where the archive has none, the review stands for itself."""
    pages = films.get((part, label), [])
    return pages[int(number)].split("/title/")[-1].split("/")[0] if int(number) < len(pages) else f"{part} {number}"


def published_split(frame: pd.DataFrame, seed: int = 123) -> Splits:
    """Raschka's split of what ``read_reviews`` gives: 35,000, 5,000 and 10,000 reviews. It shuffles twice, with the
    same seed both times."""
    for _ in range(2):
        frame = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
    return cut_in_order(frame)


def authors_split(frame: pd.DataFrame, seed: int, by_film: bool) -> Splits:
    """The split of Maas et al., without repeats, and with a tenth of the training reviews to validate on: 25,000 to
    test. ``by_film``: no film is in both of the other parts."""
    test = frame[frame["part"] == "test"].reset_index(drop=True)
    rest = frame[(frame["part"] == "train") & ~frame["text"].isin(set(test["text"]))].drop_duplicates("text")
    rest = rest.sample(frac=1, random_state=seed).reset_index(drop=True)
    held = held_out(rest["film"].tolist() if by_film else range(len(rest)), seed)
    return rest[~held].reset_index(drop=True), rest[held].reset_index(drop=True), test


def held_out(groups: Sequence, seed: int) -> pd.Series:
    """Which rows validate: whole groups, drawn by the seed, of a tenth of the rows in all or a little less."""
    table = pd.Series(list(groups))
    sizes = table.value_counts(sort=False).sample(frac=1, random_state=seed)
    return table.isin(sizes.index[sizes.cumsum() <= VALIDATION * len(table)])


def split(path: str | Path, protocol: str, seed: int = 123) -> Splits:
    """Return the split that ``protocol`` names; columns ``part``, ``label``, ``film`` and ``text``."""
    frame = read_reviews(path)
    return (
        published_split(frame, seed) if protocol == "published" else authors_split(frame, seed, protocol == "grouped")
    )
