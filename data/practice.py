"""Practice messages."""

import random
import re
from pathlib import Path

import pandas as pd

TEMPLATES = Path(__file__).with_name("practice_templates.txt")

SLOT = re.compile(r"\{(\w+)\}|\(([^()]*\|[^()]*)\)")  # {section} or (this|or this)
PROTECTED = re.compile(r"[\d£%]|\.example")  # numbers and addresses are never misspelt

SHORT = {
    "you": "u", "your": "ur", "you're": "ur", "are": "r", "please": "pls", "tomorrow": "tmrw", "later": "l8r",
    "thanks": "thx", "message": "msg", "text": "txt", "great": "gr8", "to": "2", "for": "4", "and": "n",
    "before": "b4", "today": "2day", "see": "c",
}  # fmt: skip


def load_templates(path=TEMPLATES):
    sections = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            options = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            options.append(line)
    return {name: tuple(options) for name, options in sections.items()}


def pick(rng, options):
    return options[int(rng.random() * len(options))]


def expand(rng, text, side, sections):
    def fill(slot):
        name, alternatives = slot.groups()
        if alternatives is not None:
            return expand(rng, pick(rng, alternatives.split("|")), side, sections)
        inner, _, rest = name.partition("_")
        if inner in ("ham", "spam"):
            name = rest
        else:
            inner = side
        options = sections.get(f"{inner}_{name}") or sections[name]
        return expand(rng, pick(rng, options), inner, sections)

    return SLOT.sub(fill, text)


def tidy(text):
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ([.,?!])", r"\1", text)
    text = re.sub(r"([?!:,])\.", r"\1", text)
    text = re.sub(r"([.?!:]\"? \"?)([a-z])(?!\S*\.example)", lambda m: m[1] + m[2].upper(), text)
    return text[0].upper() + text[1:]


def misspell(rng, text):
    style = rng.random()
    sloppy = 0.0 if style < 0.6 else style - 0.5
    words = []
    for word in text.split(" "):
        core = word.strip('.,?!:"').lower()
        if core and not PROTECTED.search(word):
            if core in SHORT and rng.random() < sloppy:
                word = word.lower().replace(core, SHORT[core])
            elif len(core) > 4 and rng.random() < 0.05 * sloppy:
                at = 1 + int(rng.random() * (len(word) - 2))
                word = word[:at] + pick(rng, (word[at + 1 :], word[at] + word[at:]))
            if sloppy and rng.random() < 0.5 + sloppy:
                word = word.replace("'", "")
        words.append(word)
    text = " ".join(words)
    if style > 0.75:
        text = text.lower()
    elif rng.random() < 0.01:
        text = text.upper()
    if rng.random() < sloppy:
        text = re.sub(r"[.,](?= )", "", text)
    return text.rstrip(".")


def practice_messages(n=2000, seed=2024):
    sections = load_templates()
    rng = random.Random(seed)
    left = {"spam": n // 2, "ham": n - n // 2}
    rows, seen = [], set()
    while len(rows) < n:
        label = "spam" if rng.random() * sum(left.values()) < left["spam"] else "ham"
        while True:
            text = misspell(rng, tidy(expand(rng, "{message}", label, sections)))
            if text not in seen:
                break
        seen.add(text)
        left[label] -= 1
        rows.append((label, text))
    return pd.DataFrame(rows, columns=["label", "text"])
