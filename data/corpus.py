"""Text for pretraining: from .txt, .gz and .xz files to two files of token numbers, built once.

    texts ─► documents ─┬─► 99 % ─► train.bin     uint16, one number a token: ▒▒▒▒▒▒▒▒▒▒▒ 50256 ▒▒▒▒ 50256 ▒▒▒▒▒▒▒▒…
                        └─►  1 % ─► held_out.bin                              document 1  end   doc. 2 end
                                    meta.json      what they were made from

A line ``<|endoftext|>`` separates documents in a text file; a file without one is one document. Each document is
encoded by itself and followed by the token 50256: a model learns from it that what comes next is something else.

**What is held out.** Whole documents, or a model would be asked about a novel whose first half it has read. Which ones
depends on a hash of their text alone: on no seed, and not on the order of the files. Each file gives about 1 % of its
text, documents in the order of their hashes, as long as they fit; files of a single document are taken together. Where
not even the shortest document fits, as in ten thousand dialogues without separators, the documents are first cut into
passages of at least 8,000 characters (about 2,000 tokens): at blank lines, or where those give a single chunk at line
ends, else at spaces, else anywhere.
"""

import gzip
import hashlib
import json
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
from tqdm import tqdm

from gpt2.errors import InputError
from gpt2.files import atomic_write, write_json
from gpt2.training.run_files import read_json

CACHE = Path(__file__).parent / "cache"
SEPARATOR = "<|endoftext|>"
OPENERS: dict[str, Callable[..., Any]] = {".txt": open, ".gz": gzip.open, ".xz": lzma.open}
PASSAGE = 8_000  # characters
CUTS = (r"(?<=\n\n)", r"(?<=\n)", r"(?<= )", r"(?<=.)")  # behind blank lines, lines, words, characters
PARTS = ("train", "held_out")
VERSION = 2  # of the rules above: other rules, other token files


@dataclass(frozen=True)
class Corpus:
    """Token numbers of both parts, mapped into memory, not read: (n,) uint16 each. ``meta`` is what meta.json says."""

    folder: Path
    train: np.ndarray
    held_out: np.ndarray
    meta: dict

    def bytes_per_token(self) -> float:
        """Of the held-out text in UTF-8; turns nats per token into bits per byte, which no tokenizer can flatter."""
        return self.meta["held_out"]["bytes"] / self.meta["held_out"]["tokens"]


def load_corpus(
    texts: Sequence[str | Path], tokenizer: tiktoken.Encoding, cache: Path = CACHE, held_out: float = 0.01
) -> Corpus:
    """Token files of these files and folders: those in ``cache`` if the texts have not changed, else built now.

    held_out   the share of the text to hold out

    Raises InputError for a path, a file or a vocabulary that cannot be used, or when there is too little to hold out.
    """
    if tokenizer.n_vocab > 2**16:
        raise InputError(f"a vocabulary of {tokenizer.n_vocab:,} tokens does not fit the two bytes a token has here")
    if not 0 < held_out < 0.5:
        text = f"the share to hold out is {held_out}, expected more than 0 and less than 0.5, such as 0.01"
        raise InputError(text, "held_out")
    files = text_files(texts)
    sources = [{"file": file.name, "bytes": file.stat().st_size, "sha256": sha256(file)} for file in files]
    rules = {"version": VERSION, "share": held_out, "tokenizer": tokenizer.name, "sources": sources}
    key = hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()
    folder = Path(cache) / f"tokens-{key[:16]}"
    if not complete(folder):
        build(files, folder, rules, tokenizer, held_out)
    arrays = {part: np.memmap(folder / f"{part}.bin", dtype=np.uint16, mode="r") for part in PARTS}
    return Corpus(folder, **arrays, meta=read_json(folder / "meta.json"))


def text_files(texts: Sequence[str | Path]) -> list[Path]:
    """The files named, and all in the folders named, in a stable order.

    Files in a folder whose names are all capitals, such as README.txt and SOURCE.txt, are about the texts and left out.
    """
    files = []
    for text in map(Path, texts):
        if text.is_dir():
            found = [file for file in sorted(text.rglob("*")) if file.is_file() and file.suffix in OPENERS]
            found = [file for file in found if not file.stem.isupper()]
            if not found:
                raise InputError(f"{text} holds no text: expected files ending in {', '.join(OPENERS)}", "texts")
            files += found
        elif not text.is_file():
            raise InputError(f"no text {text}: neither a file nor a folder", "texts")
        elif text.suffix not in OPENERS:
            expected = f"expected a file ending in {', '.join(OPENERS)}, or a folder of such files"
            raise InputError(f"{text}: {expected}", "texts")
        else:
            files.append(text)
    return files


def sha256(file: Path) -> str:
    """Fingerprint of a file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def complete(folder: Path) -> bool:
    """Are both token files there, in the length that meta.json, which is written last, says?"""
    meta = read_json(folder / "meta.json")
    files = {part: folder / f"{part}.bin" for part in PARTS}
    return bool(meta) and all(f.is_file() and f.stat().st_size == 2 * meta[p]["tokens"] for p, f in files.items())


def documents(file: Path) -> list[str]:
    """The documents of a text file, without the separators."""
    try:
        with OPENERS[file.suffix](file, "rt", encoding="utf-8-sig") as stream:
            text = stream.read()
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"{file} cannot be read as UTF-8 text ({error}); replace it or leave it out") from error
    parts = re.split(rf"^{re.escape(SEPARATOR)}[ \t]*(?:\n|\Z)", text, flags=re.MULTILINE)
    return [part.removesuffix("\n") for part in parts if part.strip()]


def passages(document: str) -> list[str]:
    """A document cut into chunks of PASSAGE characters or little more, at the first of CUTS that gives two or more."""
    chunks = [document]
    for cut in CUTS if len(document) > PASSAGE else ():
        chunks = [""]
        for block in re.split(cut, document, flags=re.DOTALL):
            if len(chunks[-1]) >= PASSAGE:
                chunks.append("")
            chunks[-1] += block
        if len(chunks) > 1:
            break
    return chunks


def digest(text: str) -> str:
    """Fingerprint of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def lengths(texts: Iterable[str]) -> Counter:
    """Characters by digest: copies of a text count together, and so go the same way."""
    counter: Counter[str] = Counter()
    for text in texts:
        counter[digest(text)] += len(text)
    return counter


def choose(texts: Counter, share: float) -> set[str]:
    """Digests of the texts to hold out: in the order of the digests, as long as they fit into the share."""
    room, chosen = share * texts.total(), set()
    for name, length in sorted(texts.items()):
        if length <= room:
            chosen.add(name)
            room -= length
    return chosen


def plan(files: list[Path], share: float) -> tuple[set[Path], set[str]]:
    """Which files' documents have to be cut into passages, and the digests of what is held out."""
    groups: dict[Path | None, dict[Path, Counter]] = {}
    for file in files:
        texts = lengths(documents(file))
        groups.setdefault(file if len(texts) > 1 else None, {})[file] = texts
    to_cut, held_out = set(), set()
    for group in groups.values():
        whole: Counter[str] = Counter()
        for texts in group.values():
            whole.update(texts)
        chosen = choose(whole, share)
        if not chosen:
            to_cut |= set(group)
            cut = lengths(chunk for file in group for document in documents(file) for chunk in passages(document))
            chosen = choose(cut, share) or set(sorted(cut)[: len(cut) > 1])  # a short text gives more than its share
        held_out |= chosen
    if not held_out:
        raise InputError(why_nothing_is_held_out([document for file in files for document in documents(file)]))
    return to_cut, held_out


def why_nothing_is_held_out(texts: list[str]) -> str:
    """All that there is goes the same way: it is one text, and a short one."""
    if not texts:
        return "no text at all in these files; add texts"
    if len(texts) > 1:
        return f"all {len(texts):,} documents are equal: what is held out must not be trained on; add other texts"
    return (
        f"too little text: one document of {len(texts[0]):,} characters; holding out a part of it takes more than "
        f"{PASSAGE:,}, or several documents; add texts"
    )


def build(files: list[Path], folder: Path, rules: dict, tokenizer: tiktoken.Encoding, share: float) -> None:
    """Encode the files into ``folder``; train.bin and held_out.bin by atomic writes, meta.json last."""
    to_cut, held_out = plan(files, share)
    end = tokenizer.encode_single_token(SEPARATOR)
    meta = rules | {part: {"documents": 0, "tokens": 0, "bytes": 0} for part in PARTS}
    with ExitStack() as stack:
        streams = {}
        for part in PARTS:
            path = stack.enter_context(atomic_write(folder / f"{part}.bin"))
            streams[part] = stack.enter_context(open(path, "wb"))
        bar = stack.enter_context(tqdm(desc="encoding", unit="B", unit_scale=True, disable=None))
        for file in files:
            for part, text in divided(documents(file), file in to_cut, held_out):
                tokens = [*tokenizer.encode_ordinary(text), end]
                np.array(tokens, dtype=np.uint16).tofile(streams[part])
                size = len(text.encode())
                for what, amount in (("documents", 1), ("tokens", len(tokens)), ("bytes", size)):
                    meta[part][what] += amount
                bar.update(size)
    write_json(folder / "meta.json", meta)


def divided(texts: list[str], cut: bool, held_out: set[str]) -> Iterator[tuple[str, str]]:
    """(part, text) in order; what stands before and behind a held-out passage become two documents."""
    for text in texts:
        chunks = [(digest(chunk) in held_out, chunk) for chunk in (passages(text) if cut else [text])]
        for is_held_out, run in groupby(chunks, key=itemgetter(0)):
            chunks_of_run = [chunk for _, chunk in run]
            if is_held_out:
                yield from (("held_out", chunk) for chunk in chunks_of_run)
            else:
                yield "train", "".join(chunks_of_run)
