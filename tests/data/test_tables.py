"""Tables of one's own: what is accepted, and the one sentence for each thing that can be wrong."""

import pytest

from data import load_dataset
from data.tables import read_table
from gpt2.errors import InputError

GOOD = "text,label\n" + "".join(f"message {i},{'ham' if i % 3 else 'spam'}\n" for i in range(30))


@pytest.fixture
def write(tmp_path):
    def write(content, name="mine.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def test_csv_with_quotes_commas_line_breaks_and_a_byte_order_mark(write):
    body = 'label,id,text\nham,1,"Well, ""hi""\nyou"\n\nspam,2, win \n' + "ham,3,a\nspam,4,b\n" * 2
    for content in (body, body.replace("\n", "\r\n"), "\ufeff" + body):
        frame = read_table(write(content))
        assert list(frame.columns) == ["text", "label"]
        assert frame["text"][0].replace("\r", "") == 'Well, "hi"\nyou'
        assert frame["text"][1] == " win "
        assert frame["label"].tolist() == ["ham", "spam"] * 3


def test_tsv_takes_quotation_marks_as_text(write):
    rows = ['"So he said\tham', 'no"\tspam', "a, b\tham", "c\tspam", "d\tham", "e\tspam"]
    frame = read_table(write("text\tlabel\n" + "\n".join(rows), "mine.TSV"))
    assert frame["text"].tolist() == ['"So he said', 'no"', "a, b", "c", "d", "e"]


def test_number_labels_become_strings_and_other_columns_can_be_named(write):
    content = "Body,Class\n" + "".join(f"m{i}, {i % 3}\n" for i in range(12))
    frame = read_table(write(content), text_column="Body", label_column="Class")
    assert sorted(set(frame["label"])) == ["0", "1", "2"]


def test_words_that_pandas_takes_for_missing_stay_words(write):
    frame = read_table(write("text,label\n" + "NA,null\nnan,None\n" * 3))
    assert frame["text"].tolist() == ["NA", "nan"] * 3
    assert sorted(set(frame["label"])) == ["None", "null"]


BAD = {
    "no such column": (
        GOOD.replace("text", "Text", 1),
        r"line 1: no column 'text'.*'Text', 'label'.*did you mean",
    ),
    "semicolons": (GOOD.replace(",", ";"), r"has commas between its columns.*'text;label'"),
    "column twice": ("text,label,label\nhello,ham,spam\n", r"'label' occurs 2 times"),
    "one class": ("text,label\n" + "hello,ham\n" * 9, r"'label' holds only one class, 'ham'"),
    "empty texts": (GOOD + " ,ham\n,spam\n", r"line 32: column 'text' is empty \(2 such"),
    "empty label": (
        'text,label\n"two\nlines",ham\nhello,\n' + GOOD,
        r"line 4: column 'label' is empty \(1 such",
    ),
    "not utf-8": (
        GOOD.encode() + "Grüße,ham\n".encode("latin-1"),
        r"line 32: byte 0xfc .* save the file as UTF-8",
    ),
    "utf-16": (GOOD.encode("utf-16"), r"line 1: byte 0x.. .* save the file as UTF-8"),
    "utf-16 without mark": (GOOD.encode("utf-16-le"), r"UTF-16"),
    "small class": (GOOD + "x,rare\ny,rare\n", r"1 of 3 classes .*'rare' with 2.*at least 3"),
    "too many cells": (GOOD + "well, hello,ham\n", r"line 32: 3 cell\(s\) where the header has 2"),
    "too few cells": ("text,label\nhello\n" + GOOD, r"line 2: 1 cell\(s\) where the header has 2"),
    "open quotation": (GOOD + '"hello,ham\nhi,ham\n', r"line 32: the row that starts here is not valid"),
    "text after quotation": ('text,label\n"hi" you,ham\n', r"line 2: the row that starts here is not valid"),
    "empty file": (b"", r"is empty"),
    "only spaces": ("\n \n", r"is empty"),
    "header only": ("text,label\n", r"header but no rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_content(write, name):
    content, sentence = BAD[name]
    path = write(content)
    with pytest.raises(InputError, match=sentence) as caught:
        read_table(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message


def test_bad_paths(tmp_path, write):
    with pytest.raises(InputError, match="nothing.csv does not exist"):
        read_table(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(InputError, match="neither .csv"):
        read_table(write(GOOD, "mine.txt"))
    with pytest.raises(InputError, match="two different columns"):
        read_table(write(GOOD), text_column="label")
    for argument in ("text_column", "label_column"):
        with pytest.raises(InputError, match="no column 'note'") as caught:
            read_table(write(GOOD), **{argument: "note"})
        assert caught.value.argument == argument


def test_a_table_as_dataset(write):
    dataset = load_dataset(write(GOOD))
    assert (dataset.name, dataset.protocol, dataset.classes) == ("mine.csv", None, ("ham", "spam"))
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [21, 3, 6]
    assert dataset.test["label"].tolist().count(1) == 2  # 10 of 30 are spam
    for part in (dataset.train, dataset.validation, dataset.test):
        for text, label in zip(part["text"], part["label"], strict=True):
            assert dataset.classes[label] == ("ham" if int(text.split()[1]) % 3 else "spam")
    path = write(GOOD)
    assert load_dataset(path, seed=1).test.equals(load_dataset(str(path), seed=1).test)
    assert not load_dataset(path, seed=1).test.equals(load_dataset(path, seed=2).test)


def test_three_rows_of_a_class_are_enough(write):
    dataset = load_dataset(write("text,label\n" + "".join(f"m{i},{'abc'[i % 3]}\n" for i in range(9))))
    assert dataset.positive is None
    for part in (dataset.train, dataset.validation, dataset.test):
        assert sorted(part["label"]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "positive"),
    [("eggs ham ham", "eggs"), ("a b b", "a"), ("b a a", "b"), ("0 1", "1"), ("spam spam eggs", "spam")],
)
def test_the_positive_class(write, labels, positive):
    content = "text,label\n" + "".join(f"m{i},{label}\n" for i, label in enumerate(labels.split() * 3))
    assert load_dataset(write(content)).positive == positive


def test_notes_tell_of_repeats_and_of_an_unused_protocol(write):
    dataset = load_dataset(write("text,label\n" + "same,ham\n" * 10 + "other,spam\n" * 10), protocol="strict")
    assert any("4 of the 4 test messages" in note for note in dataset.notes)
    assert any("The strict protocol" in note for note in dataset.notes)
    assert not any("protocol" in note for note in load_dataset(write(GOOD)).notes)
