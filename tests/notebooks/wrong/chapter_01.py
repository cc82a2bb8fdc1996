"""Typical wrong answers to the exercises of chapter 01: each must be found wrong, with a fitting hint."""

WRONG = {
    "01.1": [
        """\
from gpt2 import get_tokenizer


def pieces(text):
    tokenizer = get_tokenizer()
    return [tokenizer.decode([number]).encode() for number in tokenizer.encode_ordinary(text)]
""",
        """\
from gpt2 import get_tokenizer


def pieces(text):
    tokenizer = get_tokenizer()
    return [tokenizer.decode([number]) for number in tokenizer.encode_ordinary(text)]
""",
        """\
def pieces(text):
    return [word.encode() for word in text.split()]
""",
    ],
    "01.2": [
        """\
def unmerge(ids, merges):
    table = {i: bytes([i]) for i in range(256)}
    for (a, b), new in merges.items():
        table[new] = table[a] + table[b]
    return "".join(table[i].decode("utf-8", errors="replace") for i in ids)
""",
        """\
def unmerge(ids, merges):
    parts = {new: pair for pair, new in merges.items()}
    out = []
    for i in ids:
        out += parts[i] if i >= 256 else [i]
    return bytes(min(i, 255) for i in out).decode("utf-8", errors="replace")
""",
        """\
def unmerge(ids, merges):
    table = {i: bytes([i]) for i in range(256)}
    for (a, b), new in merges.items():
        table[new] = table[a] + table[b]
    return b"".join(table[i] for i in ids)
""",
    ],
    "01.3": [
        """\
from gpt2 import get_tokenizer


def shorten(text, n):
    tokenizer = get_tokenizer()
    return tokenizer.decode(tokenizer.encode_ordinary(text)[:n])
""",
        """\
def shorten(text, n):
    return text[:n]
""",
        """\
from gpt2 import get_tokenizer


def shorten(text, n):
    tokenizer = get_tokenizer()
    return tokenizer.decode_bytes(tokenizer.encode_ordinary(text)[:n]).decode("utf-8", errors="ignore")
""",
    ],
    "01.4": [
        """\
from collections import Counter
from itertools import pairwise


def learn_in_pieces(texts, steps):
    rows = [[bytes([b]) for b in text.encode()] for text in texts]
    merges = []
    for _ in range(steps):
        counts = Counter(pair for row in rows for pair in pairwise(row))
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for k, row in enumerate(rows):
            out, i = [], 0
            while i < len(row):
                step = 2 if tuple(row[i : i + 2]) == best else 1
                out.append(b"".join(row[i : i + step]))
                i += step
            rows[k] = out
    return merges
""",
        """\
from collections import Counter
from itertools import pairwise

import regex
from tiktoken_ext.openai_public import r50k_pat_str


def learn_in_pieces(texts, steps):
    rows = [[bytes([b]) for b in piece.encode()] for text in texts for piece in regex.findall(r50k_pat_str, text)]
    merges = []
    for _ in range(steps):
        counts = Counter(pair for row in rows for pair in pairwise(row))
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        for k, row in enumerate(rows):
            out, i = [], 0
            while i < len(row):
                step = 2 if tuple(row[i : i + 2]) == best else 1
                out.append(b"".join(row[i : i + step]))
                i += step
            rows[k] = out
    return merges
""",
        """\
from collections import Counter
from itertools import pairwise

import regex
from tiktoken_ext.openai_public import r50k_pat_str


def learn_in_pieces(texts, steps):
    pieces = Counter(piece for text in texts for piece in regex.findall(r50k_pat_str, text))
    counts = Counter()
    for piece, n in pieces.items():
        for pair in pairwise([bytes([b]) for b in piece.encode()]):
            counts[pair] += n
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:steps]
""",
    ],
}
