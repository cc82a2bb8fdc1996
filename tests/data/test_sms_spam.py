"""The two protocols: their counts on the real file, and their rules on a small file of the same form."""

import pytest

from data import leaked, load_dataset, sms_spam
from gpt2.errors import InputError, RunError


@pytest.fixture(scope="module")
def collection():
    """The real file, from GPT2_PEFT_ASSETS or the cache; a test never waits for a download."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sms_spam, "URL", "http://127.0.0.1:9/nothing.zip")
        try:
            return sms_spam.find_file(timeout=0.1)
        except RunError:
            pytest.skip("the SMS Spam Collection is not at hand; name its folder with GPT2_PEFT_ASSETS")


@pytest.fixture
def small(tmp_path):
    """40 ham and 20 spam, with one quotation mark that opens in one line and closes two lines below."""
    lines = ['ham\t"I opened a quotation', "ham\tand said more", 'ham\tbefore I closed it"']
    lines += [f"ham\tsee you at {i}" for i in range(37)]
    lines += [f"spam\twin £{i}" for i in range(18)] + ["spam\tcall now", "spam\tcall now"]
    path = tmp_path / "SMSSpamCollection"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return path


def counts(frame):
    return frame["label"].value_counts().to_dict()


def test_quoting_swallows_two_rows(collection):
    assert counts(sms_spam.read_with_quoting(collection)) == {"ham": 4825, "spam": 747}
    assert counts(sms_spam.read_lines(collection)) == {"ham": 4827, "spam": 747}


def test_strict_counts(collection):
    distinct = sms_spam.without_repeats(sms_spam.read_lines(collection))
    assert counts(distinct) == {"ham": 4518, "spam": 653}
    train, validation, test = sms_spam.strict_split(collection, seed=7)
    assert [len(part) for part in (train, validation, test)] == [3619, 517, 1035]
    assert counts(test) == {"ham": 904, "spam": 131}
    assert len(leaked(train, test)) == len(leaked(train, validation)) == len(leaked(validation, test)) == 0


def test_strict_split_depends_on_the_seed(collection):
    first, again, other = (sms_spam.strict_split(collection, seed)[2]["text"].tolist() for seed in (1, 1, 2))
    assert first == again
    assert set(first) != set(other)


def test_published_counts(collection):
    train, validation, test = sms_spam.published_split(collection)
    assert [len(part) for part in (train, validation, test)] == [1045, 149, 300]
    assert sum(counts(part)["spam"] for part in (train, validation, test)) == 747
    repeats = leaked(train, test)
    assert counts(repeats) == {"spam": 33, "ham": 4}


def test_published_token_lengths(collection):
    from gpt2.tokenizer import get_tokenizer
    from gpt2.training.batching import encode

    train, _, test = sms_spam.published_split(collection)
    tokens, _ = encode(train["text"], get_tokenizer(), 1024)
    assert max(map(len, tokens)) == 120
    assert sum(map(len, tokens)) / len(tokens) == pytest.approx(30.4, abs=0.05)
    assert encode(train["text"], get_tokenizer(), 120)[1] == 0
    assert encode(train["text"], get_tokenizer(), 119)[1] > 0


def test_load_dataset_keeps_the_published_split_whatever_the_seed(collection):
    assets = collection.parent.parent
    plain, seeded, resampled = (
        load_dataset("sms", assets=assets, **options) for options in ({}, {"seed": 5}, {"published_seed": 5})
    )
    assert plain.test.equals(seeded.test)
    assert not plain.test.equals(resampled.test)
    assert (plain.name, plain.protocol, plain.positive) == ("sms", "published", "spam")
    assert plain.classes == ("ham", "spam")
    assert plain.train["label"].sum() == 517  # ids: spam is 1
    assert any("37 of the 300" in note for note in plain.notes)
    assert not any("stand in the training set" in note for note in load_dataset("sms", "strict", assets=assets).notes)


def test_quoting_on_the_small_file(small):
    assert counts(sms_spam.read_lines(small)) == {"ham": 40, "spam": 20}
    quoted = sms_spam.read_with_quoting(small)
    assert counts(quoted) == {"ham": 38, "spam": 20}
    assert quoted["text"][0] == "I opened a quotation\nham\tand said more\nham\tbefore I closed it"


def test_published_on_the_small_file(small):
    train, validation, test = sms_spam.published_split(small)
    assert [len(part) for part in (train, validation, test)] == [28, 4, 8]  # of 20 ham + 20 spam
    assert list(train.columns) == ["label", "text"]
    assert list(train.index) == list(range(28))


def test_strict_on_the_small_file(small):
    train, validation, test = sms_spam.strict_split(small)
    assert counts(train) == {"ham": 28, "spam": 13}  # of 40 ham + 19 spam
    assert counts(validation) == {"ham": 4, "spam": 2}
    assert counts(test) == {"ham": 8, "spam": 4}
    assert len({*train["text"], *validation["text"], *test["text"]}) == 59


def test_the_first_of_equal_messages_is_kept(small):
    frame = sms_spam.read_lines(small)
    assert sms_spam.without_repeats(frame).equals(frame.iloc[:-1])


def test_leaked_counts_each_test_message(small):
    frame = sms_spam.read_lines(small)
    assert len(leaked(frame.iloc[:-1], frame.iloc[-2:])) == 2  # "call now" twice in the test part
    assert len(leaked(frame.iloc[:10], frame.iloc[10:])) == 0


def test_unknown_protocol(small):
    with pytest.raises(InputError, match="one of published, strict, grouped"):
        sms_spam.split(small, "loose")
    with pytest.raises(InputError, match="one of published, strict, grouped") as caught:
        load_dataset("practice", protocol="loose")
    assert caught.value.argument == "protocol"
