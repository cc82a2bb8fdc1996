"""Tables of one's own: what is accepted, and the one sentence for each thing that can be wrong."""

import pytest

from data import load_dataset
from data.tables import read_table
from gpt2.errors import InputError

GOOD = "text,label\n" + "".join(f"message {i},{'ham' if i % 3 else 'spam'}\n" for i in range(30))


def test_csv_with_quotes_commas_line_breaks_and_a_byte_order_mark(write):
    body = 'label,id,text\nham,1,"Well, ""hi""\nyou"\n\nspam,2, win \n' + "ham,3,a\nspam,4,b\n" * 2
    for content in (body, body.replace("\n", "\r\n"), "\ufeff" + body):
        frame = read_table(write(content))
        assert list(frame.columns) == ["text", "label"]
        assert frame["text"].iloc[0].replace("\r", "") == 'Well, "hi"\nyou'
        assert frame["text"].iloc[1] == " win "
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
    "column twice": ("text,label,label\nhello,ham,spam\n", r"'label' occurs 2 times"),
    "no texts": ("text,label\n" + " ,ham\n,spam\n" * 5, r"column 'text' is empty in every row"),
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


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("text,label\n" + "".join(f"hello {i},ham\n" for i in range(9)), "'label' holds only one class, 'ham'"),
        (
            GOOD + "x,rare\ny,rare\n",
            "1 of 3 classes .*'rare' with 2.*at least 3, one each for training, valid",
        ),
        ("text,label\n" + "same,ham\n" * 10 + "other,spam\n" * 10, "1 group.*keep_duplicates allows equal texts"),
    ],
)
def test_tables_that_cannot_be_split(write, content, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        load_dataset(write(content))
    assert "\n" not in str(caught.value)


def test_rows_without_a_message_are_left_out_and_counted(write):
    dataset = load_dataset(write(GOOD + " ,ham\n,spam\n"))
    assert sum(map(len, (dataset.train, dataset.validation, dataset.test))) == 30
    assert any("2 rows without a message were left out of mine.csv (line 32, …)" in note for note in dataset.notes)


def test_equal_texts_lie_in_one_part_unless_allowed(write):
    path = write(GOOD + "".join(f"again {i % 6},{'ham' if i % 2 else 'spam'}\n" for i in range(36)))
    dataset = load_dataset(path)
    parts = [set(part["text"]) for part in (dataset.train, dataset.validation, dataset.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert any("36 of the messages are equal to others" in note for note in dataset.notes)
    kept = load_dataset(path, keep_duplicates=True)
    assert set(kept.train["text"]) & set(kept.test["text"])


def test_a_text_of_two_senders_joins_them(write):
    rows = "".join(f"m{i},{'ab'[i % 2]},s{i}\n" for i in range(20))
    path = write("text,label,sender\n" + rows + "m0,a,s2\n")
    dataset = load_dataset(path, group_column="sender")
    part = next(p for p in (dataset.train, dataset.validation, dataset.test) if "m0" in set(p["text"]))
    assert (part["text"] == "m0").sum() == 2 and "m2" in set(part["text"])


def test_a_column_says_which_part_a_row_is_of(write):
    rows = "".join(f"m{i},{'ab'[i % 2]},{('Train', 'dev', 'test')[i // 2 % 3]}\n" for i in range(18))
    dataset = load_dataset(write("text,label,part\n" + rows), split_column="part")
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [6, 6, 6]
    with pytest.raises(InputError, match="line 20: column 'part' says 'other'; expected train, validation or test"):
        load_dataset(write("text,label,part\n" + rows + "x,a,other\n"), split_column="part")
    with pytest.raises(InputError, match="no row of column 'part' says test"):
        load_dataset(write("text,label,part\n" + rows.replace("test", "dev")), split_column="part")


def test_parts_from_files_of_their_own(write):
    train = write(GOOD, "train.csv")
    test = write("text,label\nnew one,ham\nnew two,spam\n ,spam\n", "test.csv")
    dataset = load_dataset(train, test_data=str(test))
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [27, 3, 2]
    assert any("1 row without a message was left out of test.csv (line 4)" in note for note in dataset.notes)
    both = load_dataset(train, validation_data=str(test), test_data=str(test))
    assert [len(p) for p in (both.train, both.validation, both.test)] == [30, 2, 2]
    other = write("text,label\nnew one,eggs\n", "other.csv")
    with pytest.raises(InputError, match="other.csv, line 2: the test data have class 'eggs', but no message"):
        load_dataset(train, test_data=str(other))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"split_column": "label", "test_data": "x.csv"}, "from a column or from files"),
        ({"validation_data": "x.csv"}, "without test data"),
        ({"test_data": "x.csv", "group_near_duplicates": True}, "groups are for a split that is drawn"),
        ({"encoding": "klingon"}, "encoding 'klingon' is not known"),
        *(
            ({"encoding": name}, f"encoding '{name}' is not known")
            for name in ("idna", "undefined", "base64", "unicode_escape")
        ),
        ({"split_column": "label"}, "the labels and the splits are both to come from column 'label'"),
        ({"group_column": "text"}, "the texts and the groups are both to come from column 'text'"),
        ({"split_column": "part", "keep_duplicates": True}, "keep_duplicates is for a split that is drawn"),
        ({"validation_data": ""}, "without test data"),
        ({"test_data": ""}, "is a folder"),
    ],
)
def test_settings_that_contradict_each_other(write, options, sentence):
    with pytest.raises(InputError, match=sentence):
        load_dataset(write(GOOD), **options)


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
    path = write("text,label\n" + "same,ham\n" * 10 + "other,spam\n" * 10)
    dataset = load_dataset(path, protocol="strict", keep_duplicates=True)
    assert any("4 of the 4 test messages" in note for note in dataset.notes)
    assert any("The strict protocol" in note for note in dataset.notes)
    assert not any("protocol" in note for note in load_dataset(write(GOOD)).notes)


def test_one_and_one_point_zero_are_one_label_in_files_of_their_own(write):
    """pandas writes whole numbers as 1.0 where a column has a gap."""
    train = write("text,label\n" + "".join(f"m{i},{i % 2}\n" for i in range(20)), "train.csv")
    test = write("text,label\nx,1.0\ny,0.0\n", "test.csv")
    dataset = load_dataset(train, test_data=str(test))
    assert dataset.classes == ("0", "1") and dataset.test["label"].tolist() == [1, 0]
    assert any("count as one class: 0, 0.0; 1, 1.0" in note for note in dataset.notes)


def test_two_rows_of_a_class_are_enough_where_the_test_data_are_given(write):
    test = write("text,label\nx,a\ny,b\n", "test.csv")
    train = write("text,label\n" + "".join(f"m{i},{'ab'[i % 2]}\n" for i in range(4)), "train.csv")
    assert load_dataset(train, test_data=str(test)).validation["label"].nunique() == 2
    small = write("text,label\na,a\nb,a\nc,b\n", "small.csv")
    with pytest.raises(InputError, match="2, one each for training and validation: add rows.* validation_data"):
        load_dataset(small, test_data=str(test))
    assert len(load_dataset(small, validation_data=str(test), test_data=str(test)).train) == 3


def test_a_header_that_seems_one_column_says_what_stands_between_columns(write):
    with pytest.raises(InputError, match="a .tsv has tabs between its columns: where this one has commas, rename it"):
        read_table(write(GOOD, "mine.tsv"))
    with pytest.raises(InputError, match="a .csv has commas, semicolons or tabs between its columns"):
        read_table(write(GOOD.replace(",", "|")))


@pytest.mark.parametrize("name", [{"text_column": "x"}, {"keep_duplicates": True}, {"encoding": "cp1252"}])
def test_settings_of_tables_are_refused_for_bundled_data(name):
    with pytest.raises(InputError, match="is for a table of your own, not for practice; leave it out") as caught:
        load_dataset("practice", **name)
    assert [caught.value.argument] == list(name)
