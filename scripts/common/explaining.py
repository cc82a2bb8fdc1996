"""Show which tokens of a message speak for its answer, and which against: in colour on a terminal, and as a page."""

import html
import sys
from pathlib import Path

import torch

from common.text import one_line
from gpt2.attribution import integrated_gradients
from gpt2.errors import InputError
from gpt2.files import atomic_write
from gpt2.tokenizer import get_tokenizer
from gpt2.training.batching import encode
from peft.run_classifier import RunClassifier

FOR, AGAINST = (0, 114, 178), (213, 94, 0)  # blue and orange, told apart by colour-blind people too
SHOWN = 5  # tokens in the list


def explain(run: RunClassifier, text: str, page: str | None) -> None:
    """Print the answer, its text with coloured tokens and the strongest of them; write ``page`` where it is named."""
    if not text.strip():
        raise InputError("the text to explain is empty", "explain")
    probabilities = run.predict_proba([text])[0]
    answer = int(run.decision_.answers(probabilities[None], run.positive_)[0])
    other = int(max((p, i) for i, p in enumerate(probabilities) if i != answer)[1])
    (ids,), _ = encode([text], get_tokenizer(), run.max_length_)
    device = next(run.model_.parameters()).device
    model, tokens = run.model_, torch.tensor(ids, device=device)
    attributions, of_message, of_baseline = integrated_gradients(model, tokens, answer, other, run.recipe_.pooling)
    pieces = [get_tokenizer().decode_single_token_bytes(i).decode("utf-8", errors="replace") for i in ids]
    values = attributions.tolist()
    name, against = (one_line(str(run.classes_[i])) for i in (answer, other))
    print(f"{name}\t{probabilities[answer]:.1%}\n\n{coloured(pieces, values)}\n")
    order = sorted(range(len(ids)), key=lambda i: -abs(values[i]))[:SHOWN]
    for i in order:
        print(f"{values[i]:+7.2f}  {one_line(pieces[i])!r} speaks {'for' if values[i] > 0 else 'against'} {name}")
    print(
        f"\nAll tokens together {sum(values):+.2f}: the difference of the logits of {name} and {against}, "
        f"{of_message:+.2f}, less that of a message that says nothing, {of_baseline:+.2f}."
    )
    if page:
        with atomic_write(Path(page)) as temporary:
            temporary.write_text(as_page(pieces, values, name, against), encoding="utf-8")
        print(f"Wrote {page}")


def strengths(values: list[float]) -> list[float]:
    """From -1 to 1, the strongest at an end."""
    largest = max(map(abs, values)) or 1.0
    return [value / largest for value in values]


def coloured(pieces: list[str], values: list[float]) -> str:
    """For a terminal; where the output is no terminal, each strong token with its sign instead."""
    words = [one_line(piece) for piece in pieces]
    if not sys.stdout.isatty():
        marks = ["+" if s > 0.3 else "-" if s < -0.3 else "" for s in strengths(values)]
        return "".join(f"{word}[{mark}]" if mark else word for word, mark in zip(words, marks, strict=True))
    parts = []
    for word, strength in zip(words, strengths(values), strict=True):
        red, green, blue = mixed(strength)
        parts.append(f"\x1b[48;2;{red};{green};{blue}m\x1b[38;2;0;0;0m{word}\x1b[0m")
    return "".join(parts)


def mixed(strength: float) -> tuple[int, int, int]:
    """White for 0, blue for 1, orange for -1."""
    full, share = FOR if strength > 0 else AGAINST, 0.75 * abs(strength)
    red, green, blue = (round(255 + share * (part - 255)) for part in full)
    return red, green, blue


def as_page(pieces: list[str], values: list[float], name: str, against: str) -> str:
    """A page of its own; texts come from strangers, so every character that means something in HTML is escaped."""
    spans = "".join(
        f'<span title="{value:+.3f}" style="background:rgb{mixed(strength)}">{html.escape(piece)}</span>'
        for piece, value, strength in zip(pieces, values, strengths(values), strict=True)
    )
    title = f"Why {html.escape(name)}?"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<body style="font-family:sans-serif;max-width:45em;margin:2em auto;line-height:1.8">'
        f"<h1>{title}</h1><p>Blue speaks for {html.escape(name)}, orange for {html.escape(against)}. "
        "Point at a token for its share of the logit difference.</p>"
        f'<p style="white-space:pre-wrap">{spans}</p></body></html>\n'
    )
