"""Checks of chapter 01: tokens as bytes, decoding, shortening, learning merges within pieces."""

import random
from collections import Counter
from itertools import pairwise

import regex
from tiktoken_ext.openai_public import r50k_pat_str

from checks import returned
from course import Wrong, exercise
from gpt2 import get_tokenizer

TEXTS = [
    "Win £1000 now!!",
    "  two  spaces ",
    "🙂👍 naïve café 日本",
    "",
    "See you at 8<|endoftext|>",
    "a\nb\tc",
    "CONGRATULATIONS dear winner",
]


def texts_at_random(n: int) -> list[str]:
    draw = random.Random(1)
    return ["".join(draw.choices("aab th£é🙂1!'\n", k=draw.randint(1, 20))) for _ in range(n)]


@exercise("01.1")
def check_pieces(pieces):
    tokenizer = get_tokenizer()
    for text in TEXTS + texts_at_random(20):
        found = returned(pieces(text))
        if not isinstance(found, list | tuple):
            raise Wrong(f"a list of tokens is expected, not {type(found).__name__}")
        if any(isinstance(piece, str) for piece in found):
            raise Wrong("the tokens are text; bytes are asked for, because a token need not be whole characters")
        strange = [type(piece).__name__ for piece in found if not isinstance(piece, bytes)]
        if strange:
            raise Wrong(f"each token should be bytes; there is a {strange[0]} among them")
        if b"".join(found) != text.encode("utf-8"):
            if "�".encode() in b"".join(found):
                raise Wrong(f"{text!r}: a token that is only a part of a character was decoded to text on the way")
            raise Wrong(f"{text!r}: joined, the tokens do not give the text's bytes again; is a space lost?")
        expected = [tokenizer.decode_single_token_bytes(i) for i in tokenizer.encode_ordinary(text)]
        if list(found) != expected:
            raise Wrong(f"{text!r}: these are {len(found)} pieces, but GPT-2 has {len(expected)} tokens for it")


def learned(text: str, steps: int) -> tuple[dict, list[int]]:
    """Merges of ``text`` and the text after them, as in the chapter."""
    ids, merges = list(text.encode("utf-8")), {}
    for new in range(256, 256 + steps):
        pair = Counter(pairwise(ids)).most_common(1)[0][0]
        merges[pair], out = new, []
        while ids:
            step = 2 if tuple(ids[:2]) == pair else 1
            out.append(new if step == 2 else ids[0])
            ids = ids[step:]
        ids = out
    return merges, ids


@exercise("01.2")
def check_unmerge(unmerge):
    cases = [
        ("bytes alone", [72, 105], {}, "Hi"),
        ("one merge", [256, 33], {(72, 105): 256}, "Hi!"),
        ("a merge made of merges", [258, 33], {(72, 105): 256, (256, 32): 257, (257, 256): 258}, "Hi Hi!"),
        ("a character spread over two symbols", [256, 257], {(240, 159): 256, (153, 130): 257}, "🙂"),
        ("nothing", [], {}, ""),
    ]
    for text in ("the thin thief thinks this is the thing", "£££ 🙂🙂🙂 é", "ab" * 30):
        merges, ids = learned(text, 8)
        cases.append((f"the merges learned from {text!r}", ids, merges, text))
    for what, ids, merges, expected in cases:
        found = returned(unmerge(list(ids), dict(merges)))
        if isinstance(found, bytes):
            raise Wrong("that is bytes; the text is asked for")
        if not isinstance(found, str):
            raise Wrong(f"a string is expected, not {type(found).__name__}")
        if "�" in found and not expected.isascii():
            raise Wrong(f"{what}: a replacement sign appears; when must bytes be turned into text?")
        if found != expected and found == "".join(c for c in expected if c.isascii()):
            raise Wrong(f"{what}: {found!r}; characters of several bytes are lost; when must bytes become text?")
        if found != expected:
            raise Wrong(f"{what}: {found!r} instead of {expected!r}; is every symbol taken apart down to bytes?")


@exercise("01.3")
def check_shorten(shorten):
    tokenizer = get_tokenizer()
    for text in [*TEXTS, "Well done 🙂🙂", "🙂" * 5, "word " * 9, "a � b 🙂", *texts_at_random(20)]:
        numbers = tokenizer.encode_ordinary(text)
        beginnings = [tokenizer.decode_bytes(numbers[:m]) for m in range(len(numbers) + 1)]
        for n in range(len(numbers) + 2):
            found = returned(shorten(text, n))
            if not isinstance(found, str):
                raise Wrong(f"a string is expected, not {type(found).__name__}")
            if not text.startswith(found):
                sign = " (a replacement sign is in it)" if "�" in found else ""
                raise Wrong(f"shorten({text!r}, {n}) gives {found!r}, which is not a beginning of the text{sign}")
            if found.encode("utf-8") not in beginnings:
                raise Wrong(f"shorten({text!r}, {n}) gives {found!r}, which ends inside a token: cut between tokens")
            expected = next(b for b in beginnings[: n + 1][::-1] if text.encode("utf-8").startswith(b) and whole(b))
            if len(found.encode("utf-8")) > len(expected):
                raise Wrong(f"shorten({text!r}, {n}) gives {found!r}: that is more than {n} tokens")
            if found.encode("utf-8") != expected:
                raise Wrong(f"shorten({text!r}, {n}) gives {found!r}, but a longer whole beginning has room")


def whole(some_bytes: bytes) -> bool:
    try:
        some_bytes.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def reference_merges(texts: list[str], steps: int, pattern: str = r50k_pat_str) -> list[tuple[bytes, bytes]]:
    rows = [[bytes([b]) for b in piece.encode("utf-8")] for text in texts for piece in regex.findall(pattern, text)]
    merges = []
    for _ in range(steps):
        counts = Counter(pair for row in rows for pair in pairwise(row))
        if not counts:
            break
        most = max(counts.values())
        merges.append(min(pair for pair, n in counts.items() if n == most))
        for row in rows:
            i = 0
            while i < len(row) - 1:
                if (row[i], row[i + 1]) == merges[-1]:
                    row[i : i + 2] = [row[i] + row[i + 1]]
                i += 1
    return merges


@exercise("01.4")
def check_learn_in_pieces(learn_in_pieces):
    cases = [(["the thin thief", "the thing"], 4), (["aaa aaaa"], 3), (["ab ab", "cd cd"], 6), (["a b c"], 3)]
    cases += [(TEXTS, 25), (texts_at_random(60), 30)]
    for texts, steps in cases:
        found, expected = learn_in_pieces(list(texts), steps), reference_merges(texts, steps)
        returned(found)
        if not isinstance(found, list | tuple):
            raise Wrong(f"a list of pairs is expected, not {type(found).__name__}")
        shown = f"from {texts}, {steps} steps: " if len(texts) < 3 else ""
        for pair in found:
            if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(p, bytes) for p in pair)):
                raise Wrong(f"{pair!r} is not a pair of bytes such as (b'th', b'e')")
        found = [tuple(pair) for pair in found]
        if found != expected and found == reference_merges(texts, steps, r"(?s).+"):
            raise Wrong(f"{shown}a merge runs across the border between two pieces")
        for k, (mine, theirs) in enumerate(zip(found, expected, strict=False)):
            if mine == theirs:
                continue
            if all(len(part) == 1 for pair in found for part in pair) and len(found) > 1:
                raise Wrong(f"{shown}no merge is made of merges: count anew after each one")
            raise Wrong(f"{shown}merge {k + 1} is {mine}, expected another; look at the counts, and at what ties do")
        if len(found) != len(expected):
            raise Wrong(f"{shown}{len(found)} merges instead of {len(expected)}; when should it stop?")
