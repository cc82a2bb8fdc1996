"""The E2E NLG data: facts about a restaurant, and sentences that people wrote from them.

    Novikova, Dušek, Rieser: The E2E Dataset: New Challenges for End-to-End Generation (SIGDIAL 2017)
    https://arxiv.org/abs/1706.09254, CC BY-SA 4.0

    name[Blue Spice], eatType[coffee shop], area[city centre]   ->   Blue Spice is a coffee shop in city centre.

42,061 pairs to train on, 4,672 to validate and 4,693 to test, with 4,862, 547 and 630 different sources. No source
stands in two parts.
"""

from pathlib import Path

import pandas as pd

from data.download import local_or_download

COMMIT = "ab0d967dd5729ce455ef14ba9ffafc456a335264"
URL = f"https://raw.githubusercontent.com/tuetschek/e2e-dataset/{COMMIT}"
FILES = {  # part -> file, sha256
    "train": ("trainset.csv", "f27d48df45815288ab15619d47a79028c300fbb7f42e373668aba0b98c1d57c6"),
    "validation": ("devset.csv", "fc26b78cdb849c80545f513b223d1e051138b43882eeb79e3eb153e689c864f9"),
    "test": ("testset_w_refs.csv", "edc8db685e39bb9824d5bd70c18b1c9b0412d14b527aa960e2d1c8251ee15ccd"),
}


def find_files(assets: str | Path | None = None, timeout: float = 10.0) -> dict[str, Path]:
    """Part -> path: in ``<assets>/e2e/``, in the cache, or downloaded (12 MB in all).

    Raises InputError for an unusable assets folder, RunError when a file is not available.
    """
    return {
        part: local_or_download(f"e2e/{name}", f"{URL}/{name}", sha256, assets=assets, timeout=timeout)
        for part, (name, sha256) in FILES.items()
    }


def read_part(path: str | Path) -> pd.DataFrame:
    """A part's pairs, columns source and target, in the order of the file."""
    frame = pd.read_csv(path, encoding="utf-8", keep_default_na=False)
    return frame.rename(columns={"mr": "source", "ref": "target"})[["source", "target"]]
