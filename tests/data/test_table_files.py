"""The files of tables: JSON lines and Parquet, whose cells have types, and text in other encodings."""

import pandas as pd
import pytest

from data.table_files import read_chunks
from data.tables import read_table
from gpt2.errors import InputError

GOOD = "text,label\n" + "".join(f"message {i},{'ham' if i % 3 else 'spam'}\n" for i in range(30))


def test_other_encodings_when_they_are_named(write):
    path = write((GOOD + "Grüße,ham\n").encode("cp1252"))
    assert "Grüße" in read_table(path, encoding="cp1252")["text"].tolist()
    assert "Grüße" in read_table(write((GOOD + "Grüße,ham\n").encode("utf-16")), encoding="utf-16")["text"].tolist()


def test_json_lines_and_parquet(write, tmp_path):
    lines = '{"text": "a, b", "label": 1}\n{"text": null, "label": 0}\n{"text": "2024-01-01", "label": 0}\n'
    frame = read_table(write(lines, "mine.jsonl"))
    assert frame["text"].tolist() == ["a, b", "2024-01-01"] and frame["label"].tolist() == ["1", "0"]
    with pytest.raises(InputError, match="broken.jsonl, line 2: not JSON"):
        read_table(write('{"text": "a", "label": "b"}\n{"text": "a"\n', "broken.jsonl"))
    with pytest.raises(InputError, match="line 1: list where an object"):
        read_table(write('["a", "b"]\n', "list.jsonl"))
    with pytest.raises(InputError, match="no column 'text'"):
        read_table(write('{"message": "a", "label": "b"}\n', "other.jsonl"))
    pytest.importorskip("pyarrow")
    pd.DataFrame({"text": ["x", "y"], "label": ["a", "b"]}).to_parquet(tmp_path / "mine.parquet")
    assert read_table(tmp_path / "mine.parquet")["text"].tolist() == ["x", "y"]


LINES = '{"text": "a", "label": "x"}\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": {"id": 3}, "label": "x"}', r"""line 2: column 'text' holds {"id": 3}, expected a string"""),
        ('{"text": ["a"], "label": "x"}', "column .text. holds .*a.*, expected a string"),
        ('{"text": 3.5, "label": "x"}', "holds 3.5, expected a string"),
        ('{"text": true, "label": "x"}', "holds true, expected a string"),
        ('{"text": "b", "label": {"id": 3}}', "column 'label' holds .*, expected a string, a number, true or false"),
        ('{"text": "b \\ud800", "label": "x"}', r"line 2: column 'text' has half of a character \(\\ud800\)"),
        ('{"text": "b", "label": null}', "line 2: column 'label' is empty"),
    ],
)
def test_values_in_json_lines_that_are_no_texts_or_labels(write, line, said):
    with pytest.raises(InputError, match=said) as caught:
        read_table(write(LINES + line + "\n" + LINES, "mine.jsonl"))
    assert "mine.jsonl" in str(caught.value)


def test_keys_that_first_occur_late_are_columns_of_every_chunk(write):
    path = write('{"text": "a", "id": 1}\n{"text": null}\n{"text": "c", "note": {"n": [2, null]}}\n', "mine.jsonl")
    chunks = [table for _, table in read_chunks(path, ["text"], size=1)]
    assert all(list(table.columns) == ["text", "id", "note"] for table in chunks)
    rows = [["a", "1", ""], ["", "", ""], ["c", "", '{"n": [2, null]}']]  # 1 stays 1, and is not 1.0 for the gap below
    assert [table.iloc[0].tolist() for table in chunks] == rows


def test_parquet_has_the_same_rules(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "mine.parquet"
    pd.DataFrame({"text": ["x", None], "label": ["a", "b"], "id": [1, None]}).astype({"id": "Int64"}).to_parquet(path)
    assert next(iter(read_chunks(path, ["text"])))[1].to_numpy().tolist() == [["x", "a", "1"], ["", "b", ""]]
    pd.DataFrame({"text": [1, 2], "label": ["a", "b"]}).to_parquet(path)
    with pytest.raises(InputError, match="line 1: column 'text' holds 1, expected a string"):
        read_table(path)
    path.write_text("hi")
    with pytest.raises(InputError, match="as Parquet .*; save the table again, or as .csv"):
        read_table(path)
