"""Practice messages: invented texts, half ham and half spam, for a machine with neither network nor data file.

    practice_messages()        # a table of 2,000 rows with columns "label" ("ham" or "spam") and "text"

They are written by a small grammar, ``practice_templates.txt``, and a seeded random generator:

    {office_news}. {office_plain}
    -> "(Your parcel|Your {gift}) is {coming}. (Please|Just|...) {office_yes}"      a line of each section
    -> "Your parcel is due tomorrow. Please {office_yes}"
    -> ham:  "Your parcel is due tomorrow. Please pay at the desk"                  {office_yes} is the safe thing,
    -> spam: "Your parcel is due tomorrow. Please reply with your PIN"              or the risky one

**What they are not: real.** Nobody sent them, their people and firms do not exist, and who writes and what about
are drawn independently (a bank may announce a parcel). An accuracy on them says that a program learns; it says
nothing about real spam.

**Why they are not trivial.** Both classes talk about parcels, prizes, codes, banks, links and money, with the same
greetings, names, sums, numbers and misspellings. The label depends on *who wants what from you*. Spam wants the
click, the code, the money, a call to its own number; ham sends you to a place or person you know, warns, or
quotes a scam to laugh at it. One message in six says both, and then only the positions of the words differ:

    ham   Don't click this link, come to the branch
    spam  Don't come to the branch, click this link

Word counts cannot see that; a model that reads in order can. Test accuracy, measured on the default 2,000 messages
in random splits of 70/10/20 %:

    always the same answer                                                  50.0 %
    words and word pairs, logistic regression (data/baselines.py)           91.8 % (90.0 to 93.8, seeds 0 to 9)
    the practice GPT-2 (7.7 M parameters), fine-tuned in full, 5 epochs     97.8 % (97.3, 96.8, 99.3; seeds 123, 1, 2)

    python -c "from data import load_dataset; from data.baselines import tfidf
    print(*(tfidf(load_dataset('practice', seed=seed))['test']['accuracy'] for seed in range(10)))"
    python scripts/finetune_spam.py --data practice --model practice --method full --seed 123
"""

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

TEMPLATES = Path(__file__).with_name("practice_templates.txt")

SLOT = re.compile(r"\{(\w+)\}|\(([^()]*\|[^()]*)\)")  # {section} or (this|or that)
KEEP = re.compile(r"[\d£]|\.example")  # numbers, sums and addresses are never misspelt

SHORT = {
    "you": "u", "your": "ur", "you're": "ur", "are": "r", "see": "c", "to": "2", "for": "4", "and": "n",
    "please": "pls", "thanks": "thx", "text": "txt", "message": "msg", "great": "gr8", "before": "b4",
    "later": "l8r", "today": "2day", "tomorrow": "tmrw",
}  # fmt: skip

Sections = dict[str, tuple[str, ...]]
Uniform = Callable[[], float]  # draws from [0, 1)


def practice_messages(n: int = 2000, seed: int = 2024) -> pd.DataFrame:
    """Return ``n`` different messages, half of them spam (rounded down), in random order: columns label and text.

    The same ``n`` and ``seed`` give the same table on every system and Python version.
    """
    sections = read_templates()
    # Only random() is promised never to change between Python versions; choice() and shuffle() are not.
    uniform = random.Random(seed).random
    left = {"ham": n - n // 2, "spam": n // 2}  # still to write
    rows: dict[str, str] = {}  # text -> label
    while len(rows) < n:
        label = "spam" if uniform() * (left["ham"] + left["spam"]) < left["spam"] else "ham"
        text = misspell(tidy(expand("{message}", label, sections, uniform)), uniform)
        if text not in rows:
            rows[text] = label
            left[label] -= 1
    return pd.DataFrame({"label": list(rows.values()), "text": list(rows)})


def read_templates(path: Path = TEMPLATES) -> Sections:
    """Return the lines of each ``[section]``; the head of the file explains its format."""
    sections: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return {name: tuple(lines) for name, lines in sections.items()}


def expand(template: str, side: str, sections: Sections, uniform: Uniform) -> str:
    """Fill every slot of ``template``, and the slots of what is filled in, for ``side`` "ham" or "spam"."""

    def fill(slot: re.Match) -> str:
        name, alternatives = slot.groups()
        if alternatives is not None:  # (a|b|c)
            return expand(pick(alternatives.split("|"), uniform), side, sections, uniform)
        inner, _, rest = name.partition("_")
        if inner in ("ham", "spam"):  # {spam_office}: that side from here on, whoever quotes it
            name = rest
        else:
            inner = side
        lines = sections.get(f"{inner}_{name}") or sections[name]
        return expand(pick(lines, uniform), inner, sections, uniform)

    return SLOT.sub(fill, template)


def pick(options: Sequence[str], uniform: Uniform) -> str:
    """Return one of ``options``, all equally likely."""
    return options[int(uniform() * len(options))]


def tidy(text: str) -> str:
    """Close the gaps that empty alternatives leave, drop a full stop after another mark, start with a capital."""
    text = re.sub(r" +", " ", text).strip()
    text = re.sub(r" (?=[.,?!])", "", text)
    text = re.sub(r"(?<=[?!:,])\.", "", text)
    return text[0].upper() + text[1:]


def misspell(text: str, uniform: Uniform) -> str:
    """Write the message as one of many people would, the same people for both classes.

    Six in ten are careful. The others, each sloppy to a degree, shorten words, drop apostrophes, commas and full
    stops, and now and then lose or double a letter. A quarter of all write without capitals, one in a hundred shouts.
    """
    style = uniform()
    sloppy = max(0.0, style - 0.5) if style > 0.6 else 0.0
    text = " ".join(misspell_word(word, sloppy, uniform) for word in text.split(" "))
    if uniform() < sloppy:
        text = re.sub(r"[.,](?= )", "", text)
    if style > 0.75:
        return text.lower()
    return text.upper() if uniform() < 0.01 else text


def misspell_word(word: str, sloppy: float, uniform: Uniform) -> str:
    """One word as someone ``sloppy`` (0 to 0.5) would write it."""
    if sloppy == 0 or KEEP.search(word):
        return word
    core = word.strip('.,?!:"').lower()
    if core in SHORT and uniform() < sloppy:
        return word.lower().replace(core, SHORT[core])
    if len(core) > 4 and uniform() < 0.05 * sloppy:
        at = word.lower().index(core) + 1 + int(uniform() * (len(core) - 2))  # not the first letter, not the last
        word = word[:at] + pick(("", 2 * word[at]), uniform) + word[at + 1 :]
    return word.replace("'", "") if uniform() < 0.5 + sloppy else word
