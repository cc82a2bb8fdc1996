"""Token files: what goes where, when they are reused, and what is refused."""

import gzip
import lzma
from types import SimpleNamespace

import numpy as np
import pytest

from data.corpus import PASSAGE, SEPARATOR, load_corpus, passages, text_files
from gpt2.errors import InputError
from gpt2.tokenizer import END_OF_TEXT, get_tokenizer

END = f"\n{SEPARATOR}\n"


def load(texts, folder, **options):
    return load_corpus(texts, get_tokenizer(), folder / "cache", **options)


def read(tokens) -> list[str]:
    """The documents of a token file, as text."""
    tokens = tokens.tolist()
    assert tokens[-1] == END_OF_TEXT
    ends = [i for i, token in enumerate(tokens) if token == END_OF_TEXT]
    return [get_tokenizer().decode(tokens[a + 1 : b]) for a, b in zip([-1, *ends], ends, strict=False)]


def document(i: int, words: int = 60) -> str:
    return " ".join(f"tale{i}" if j % 3 else "and" for j in range(words))


@pytest.fixture
def book(tmp_path):
    """A file of forty documents."""
    file = tmp_path / "book.txt"
    file.write_text(END.join(document(i) for i in range(40)), encoding="utf-8")
    return file


def test_documents_go_whole_to_one_part(book, tmp_path):
    corpus = load([book], tmp_path, held_out=0.1)
    train, held_out = read(corpus.train), read(corpus.held_out)
    assert sorted(train + held_out) == sorted(document(i) for i in range(40))
    assert 1 <= len(held_out) <= 4  # a tenth, never more
    for part, texts in (("train", train), ("held_out", held_out)):
        tokens = getattr(corpus, part)
        assert tokens.dtype == np.uint16 and isinstance(tokens, np.memmap)
        sizes = {"documents": len(texts), "tokens": len(tokens), "bytes": sum(len(text.encode()) for text in texts)}
        assert corpus.meta[part] == sizes
    assert corpus.bytes_per_token() == corpus.meta["held_out"]["bytes"] / len(corpus.held_out)


def test_the_split_depends_on_the_texts_alone(book, tmp_path):
    turned = tmp_path / "turned.txt"
    turned.write_text(END.join(document(i) for i in reversed(range(40))), encoding="utf-8")
    ours, theirs = (read(load([file], tmp_path, held_out=0.1).held_out) for file in (book, turned))
    assert sorted(ours) == sorted(theirs)


def test_every_file_gives_its_share_and_a_long_one_does_not_take_all(book, tmp_path):
    """A giant document beside small ones stays in training; a file of one giant document is cut at blank lines."""
    giant = "\n\n".join(f"Paragraph {i} of a very long story. " * 20 for i in range(300))  # 200,000 characters
    mixed, single = tmp_path / "mixed.txt", tmp_path / "single.txt"
    mixed.write_text(END.join([giant, *(document(i) for i in range(100, 140))]), encoding="utf-8")
    single.write_text(giant.replace("story", "novel"), encoding="utf-8")
    corpus = load([book, mixed, single], tmp_path, held_out=0.1)
    train, held_out = read(corpus.train), read(corpus.held_out)
    assert giant in train
    passages = [text for text in held_out if "novel" in text]
    assert passages and all(PASSAGE <= len(text) < PASSAGE + 1000 for text in passages)
    assert sum(map(len, passages)) <= 0.1 * len(giant)
    for numbers in (range(40), range(100, 140)):
        assert {document(i) for i in numbers} & set(held_out)
    pieces = [text for text in train if "novel" in text]  # what stood around the passages, whole
    assert sum(map(len, pieces)) + sum(map(len, passages)) == len(giant)
    assert not any(passage[:60] in piece for passage in passages for piece in pieces)


def test_files_of_one_document_are_taken_together(tmp_path):
    folder = tmp_path / "letters" / "more"
    folder.mkdir(parents=True)
    for i in range(30):
        (folder.parent if i % 2 else folder).joinpath(f"{i}.txt").write_text(document(i), encoding="utf-8")
    (folder / "README.txt").write_text("where the letters are from", encoding="utf-8")
    corpus = load([folder.parent], tmp_path, held_out=0.1)
    assert len(read(corpus.held_out)) == 3
    assert sorted(read(corpus.train) + read(corpus.held_out)) == sorted(document(i) for i in range(30))


def test_copies_of_a_document_go_the_same_way(tmp_path):
    file = tmp_path / "twice.txt"
    file.write_text(END.join(document(i % 20) for i in range(40)), encoding="utf-8")
    corpus = load([file], tmp_path, held_out=0.2)
    assert not set(read(corpus.train)) & set(read(corpus.held_out))


def test_a_little_text_still_gives_something(tmp_path):
    file = tmp_path / "short.txt"
    file.write_text("\n".join(f"line {i} of a text without any blank one" for i in range(1000)), encoding="utf-8")
    corpus = load([file], tmp_path)
    assert len(read(corpus.held_out)) == 1 and len(corpus.train) > len(corpus.held_out)


def test_all_kinds_of_files_read_the_same(book, tmp_path):
    text = book.read_text(encoding="utf-8")
    with gzip.open(tmp_path / "book.gz", "wt", encoding="utf-8") as stream:
        stream.write(text)
    with lzma.open(tmp_path / "book.xz", "wt", encoding="utf-8-sig") as stream:  # a byte order mark is no text
        stream.write(text.replace("\n", "\r\n"))
    parts = [load([tmp_path / f"book{suffix}"], tmp_path) for suffix in (".txt", ".gz", ".xz")]
    for other in parts[1:]:
        assert np.array_equal(parts[0].train, other.train) and np.array_equal(parts[0].held_out, other.held_out)


def test_the_separator_counts_on_a_line_of_its_own_only(tmp_path):
    file = tmp_path / "marks.txt"
    inside = f"a {SEPARATOR} in a line is ordinary text"
    file.write_text(f"{SEPARATOR}\none\n{SEPARATOR}\n\n{SEPARATOR}  \n{inside}\n{SEPARATOR}", encoding="utf-8")
    corpus = load([file], tmp_path, held_out=0.45)
    assert sorted(read(corpus.train) + read(corpus.held_out)) == [inside, "one"]


def test_token_files_are_reused_until_a_text_changes(book, tmp_path):
    first = load([book], tmp_path)
    written = (first.folder / "train.bin").stat().st_mtime_ns
    assert load([book], tmp_path).folder == first.folder
    assert (first.folder / "train.bin").stat().st_mtime_ns == written
    with book.open("a", encoding="utf-8") as stream:
        stream.write(END + "one more")
    changed = load([book], tmp_path)
    assert changed.folder != first.folder
    assert len(changed.train) + len(changed.held_out) > len(first.train) + len(first.held_out)


def test_damaged_token_files_are_built_again(book, tmp_path):
    whole = load([book], tmp_path)
    length = len(whole.train)
    (whole.folder / "train.bin").write_bytes(b"12")
    assert len(load([book], tmp_path).train) == length


def test_an_interrupted_build_leaves_nothing_that_looks_whole(book, tmp_path):
    tokenizer = get_tokenizer()

    def fail(text):
        raise KeyboardInterrupt

    broken = SimpleNamespace(
        n_vocab=50257, name="gpt2", encode_single_token=tokenizer.encode_single_token, encode_ordinary=fail
    )
    with pytest.raises(KeyboardInterrupt):
        load_corpus([book], broken, tmp_path / "cache")
    assert [file for file in (tmp_path / "cache").rglob("*") if file.is_file()] == []
    assert len(load([book], tmp_path).train)


def test_what_cannot_be_used_is_said_in_one_sentence(book, tmp_path):
    (tmp_path / "empty").mkdir()
    latin, cut, one = tmp_path / "latin.txt", tmp_path / "cut.xz", tmp_path / "one.txt"
    latin.write_bytes("déjà vu".encode("latin-1"))
    cut.write_bytes(lzma.compress(book.read_bytes())[:100])
    one.write_text("one line", encoding="utf-8")
    (tmp_path / "book.pdf").write_bytes(b"")
    cases = {
        tmp_path / "absent.txt": "neither a file nor a folder",
        tmp_path / "empty": "holds no text",
        tmp_path / "book.pdf": "expected a file ending in .txt, .gz, .xz",
        latin: "cannot be read as UTF-8 text",
        cut: "cannot be read",
        one: "too little text",
    }
    for path, message in cases.items():
        with pytest.raises(InputError, match=message) as error:
            load([path], tmp_path)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="share to hold out is 0.7"):
        load([book], tmp_path, held_out=0.7)


def test_a_vocabulary_beyond_two_bytes_is_refused(book, tmp_path):
    with pytest.raises(InputError, match="100,277 tokens does not fit"):
        load_corpus([book], SimpleNamespace(n_vocab=100_277, name="large"), tmp_path)


def test_files_come_in_a_stable_order(tmp_path):
    for name in ("b.txt", "a.xz", "c.gz", "note.md"):
        (tmp_path / name).write_bytes(b"")
    assert [file.name for file in text_files([tmp_path])] == ["a.xz", "b.txt", "c.gz"]


@pytest.mark.parametrize("unit", ["word ", "ü", "line\n"])
def test_a_text_without_breaks_is_cut_at_spaces_or_else_at_characters(unit, tmp_path):
    text = "".join(f"{i}{unit}" if i % 50 == 0 else unit for i in range(6 * PASSAGE // len(unit)))
    file = tmp_path / "one_line.txt"
    file.write_text(text, encoding="utf-8")
    assert len(passages(text)) > 5 and "".join(passages(text)) == text
    assert all(PASSAGE <= len(piece) < PASSAGE + 10 and piece.endswith(unit) for piece in passages(text)[:-1])
    corpus = load([file], tmp_path)
    assert len(read(corpus.held_out)) == 1
    assert "".join(sorted(read(corpus.train) + read(corpus.held_out), key=text.index)) == text.rstrip("\n")


def test_equal_documents_are_named_as_the_reason(tmp_path):
    file = tmp_path / "same.txt"
    file.write_text(END.join(["the very same"] * 30), encoding="utf-8")
    with pytest.raises(InputError, match="all 30 documents are equal"):
        load([file], tmp_path)
    file.write_text("one line", encoding="utf-8")
    with pytest.raises(InputError, match="too little text: one document of 8 characters.*more than 8,000"):
        load([file], tmp_path)
