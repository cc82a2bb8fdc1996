"""Other right answers to the exercises of chapter 01 than the solution's."""

RIGHT = {
    "01.1": [
        """\
def pieces(text):
    from gpt2 import get_tokenizer

    tokenizer = get_tokenizer()
    return tuple(tokenizer.decode_bytes([number]) for number in tokenizer.encode(text, disallowed_special=()))
""",
        """\
from gpt2 import get_tokenizer

tokenizer = get_tokenizer()


def pieces(text):
    return tokenizer.decode_tokens_bytes(tokenizer.encode_ordinary(text))
""",
    ],
    "01.2": [
        """\
def unmerge(ids, merges):
    parts = {new: pair for pair, new in merges.items()}
    stack, out = list(reversed(ids)), bytearray()
    while stack:
        number = stack.pop()
        if number in parts:
            stack += reversed(parts[number])
        else:
            out.append(number)
    return str(out, "utf-8", "replace")
""",
        """\
def unmerge(ids, merges):
    table = {i: bytes([i]) for i in range(256)}
    for (a, b), new in merges.items():
        table[new] = table[a] + table[b]
    return b"".join(map(table.get, ids)).decode()
""",
    ],
    "01.3": [
        """\
from gpt2 import get_tokenizer


def shorten(text, n):
    tokenizer, best = get_tokenizer(), ""
    numbers = tokenizer.encode(text, disallowed_special=())
    for m in range(1, min(n, len(numbers)) + 1):
        try:
            best = b"".join(tokenizer.decode_single_token_bytes(i) for i in numbers[:m]).decode()
        except UnicodeDecodeError:
            pass
    return best
""",
        """\
from gpt2 import get_tokenizer


def shorten(text, n):
    tokenizer = get_tokenizer()
    ends, so_far = [0], 0
    for number in tokenizer.encode_ordinary(text)[:n]:
        so_far += len(tokenizer.decode_single_token_bytes(number))
        ends.append(so_far)
    borders, so_far = {0}, 0
    for character in text:
        so_far += len(character.encode())
        borders.add(so_far)
    return text.encode()[: max(borders & set(ends))].decode()
""",
    ],
    "01.4": [
        """\
from collections import defaultdict

import regex
from tiktoken_ext.openai_public import r50k_pat_str


def learn_in_pieces(texts, steps):
    words = [[bytes([b]) for b in piece.encode()] for text in texts for piece in regex.findall(r50k_pat_str, text)]
    merges = []
    while len(merges) < steps:
        counts = defaultdict(int)
        for word in words:
            for a, b in zip(word, word[1:]):
                counts[a, b] += 1
        if len(counts) == 0:
            return merges
        pair = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[0][0]
        merges.append(list(pair))
        for word in words:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == pair:
                    word[i] += word.pop(i + 1)
                i += 1
    return merges
""",
        """\
import regex
from tiktoken_ext.openai_public import r50k_pat_str


def learn_in_pieces(texts, steps):
    def pairs():
        return [pair for piece in pieces for pair in zip(piece[:-1], piece[1:])]

    def merged(piece, pair):
        if len(piece) < 2:
            return piece
        if piece[:2] == pair:
            return (pair[0] + pair[1],) + merged(piece[2:], pair)
        return piece[:1] + merged(piece[1:], pair)

    pieces = [tuple(bytes([b]) for b in p.encode()) for t in texts for p in regex.findall(r50k_pat_str, t)]
    result = []
    for _ in range(steps):
        if not pairs():
            break
        every = pairs()
        most = max(every.count(pair) for pair in set(every))
        result.append(min(pair for pair in set(every) if every.count(pair) == most))
        pieces = [merged(piece, result[-1]) for piece in pieces]
    return tuple(result)
""",
    ],
}
