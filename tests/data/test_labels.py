"""What is said, and done, about the labels of a person's own table."""

import pytest

from data import load_dataset, read_table
from data.labels import equal_numbers, join_equal_numbers
from gpt2.errors import InputError


@pytest.fixture
def table(tmp_path):
    """Function: (text, label) pairs -> a .csv file."""

    def write(pairs, header="text,label"):
        path = tmp_path / "mine.csv"
        path.write_text(header + "\n" + "".join(f"{text},{label}\n" for text, label in pairs), encoding="utf-8")
        return path

    return write


def pairs(labels: list[str], each: int = 10):
    return [(f"message {i} of {label}", label) for label in labels for i in range(each)]


def notes(path) -> str:
    return " ".join(load_dataset(path).notes)


@pytest.mark.parametrize("spam", ["Spam", "SPAM", "spam"])
def test_spam_is_the_positive_class_however_it_is_capitalised(spam, table):
    path = table(pairs(["Ham"], each=6) + pairs([spam], each=30))  # the more frequent one
    assert load_dataset(path).positive == spam


def test_labels_that_are_equal_as_numbers_are_one(table):
    path = table(pairs(["0", "0.0", "1", "1.0", "1.00"]))
    frame = read_table(path)
    assert sorted(frame["label"].unique()) == ["0", "1"] and (frame["label"] == "1").sum() == 30
    assert load_dataset(path).classes == ("0", "1")
    assert "count as one class: 0, 0.0; 1, 1.0, 1.00" in notes(path)
    with pytest.raises(InputError, match="only one class"):
        load_dataset(table(pairs(["1", "1.0"])))


def test_other_labels_are_left_as_they_are():
    import pandas as pd

    labels = pd.Series(["1", "2", "v1.0", "nan", "1e0", "-3"])
    assert join_equal_numbers(labels, equal_numbers(labels)).tolist() == labels.tolist()


def test_labels_that_differ_by_case_or_spaces_are_mentioned(table):
    assert "'Spam', 'spam'" in notes(table(pairs(["Spam", "spam", "ham"])))
    assert "'not spam', 'notspam'" in notes(table(pairs(["not spam", "notspam"])))
    assert "differ only" not in notes(table(pairs(["spam", "ham"])))


def test_equal_texts_under_different_labels_are_mentioned(table):
    found = notes(table([*pairs(["a", "b"]), ("hello", "a"), ("hello", "b")]))
    assert "1 text stands under more than one label, such as 'hello'" in found


def test_a_strong_imbalance_is_mentioned_with_the_accuracy_of_the_majority(table):
    path = table(pairs(["ham"], each=90) + pairs(["rare"], each=10))
    assert "90% of the messages are 'ham'" in notes(path)
    assert load_dataset(path).majority() == ("ham", 0.9)
    assert "of the messages are" not in notes(table(pairs(["ham", "rare"])))


@pytest.mark.parametrize("column", ["text", "unused"])
def test_long_cells_are_read(column, table):
    long = "x" * 200_000
    rows = [(f"{'hello' if column == 'unused' else long} {i},{long}", "ab"[i % 2]) for i in range(8)]
    frame = read_table(table(rows, header="text,unused,label"))
    assert frame["text"].str.len().max() == (7 if column == "unused" else 200_002)


@pytest.mark.parametrize("mark", [";", "\t", ","])
def test_the_delimiter_is_found_whatever_the_texts_hold(mark, tmp_path):
    path = tmp_path / "euro.csv"
    path.write_text(f'text{mark}label\n"hello, you; there"{mark}ham\nhi{mark}spam\n', encoding="utf-8")
    frame = read_table(path)
    assert frame["text"].tolist() == ["hello, you; there", "hi"] and frame["label"].tolist() == ["ham", "spam"]


def test_the_line_of_an_undecodable_byte_counts_all_line_ends(tmp_path):
    path = tmp_path / "old_mac.csv"
    path.write_bytes(b"text,label\rone,a\rtwo,b\rcaf\xe9,a\r")
    with pytest.raises(InputError, match="line 4: byte 0xe9"):
        read_table(path)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64])
def test_a_seed_out_of_range_is_one_line(seed, table):
    with pytest.raises(InputError, match="seed of a split is"):
        load_dataset(table(pairs(["a", "b"])), seed=seed)


def test_the_hash_changes_with_a_text_a_label_or_their_split(table):
    rows = pairs(["a", "b"])
    sums = {load_dataset(table(rows), seed=seed).sha256() for seed in (1, 1, 2)}
    sums.add(load_dataset(table([*rows[:-1], ("another", "b")]), seed=1).sha256())
    sums.add(load_dataset(table([*rows[:-1], (rows[-1][0], "a")]), seed=1).sha256())
    assert len(sums) == 4
