"""TextClassifier: scikit-learn's conventions, and the same numbers as the training that it stands for."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import peft
from gpt2 import load_gpt2
from gpt2.classifier import add_classification_head, classify
from gpt2.errors import InputError
from gpt2.tokenizer import get_tokenizer
from gpt2.training.batching import encode, make_batch
from peft.estimator import TextClassifier

WORDS = {"food": ("soup", "bread", "cheese"), "sport": ("goal", "match", "team"), "work": ("office", "meeting", "desk")}


def table(per_class: int, classes: int = 3) -> tuple[list[str], list[str]]:
    rows = [
        (f"{words[i % 3]} and {words[(i + 1) % 3]} number {i}", label)
        for label, words in list(WORDS.items())[:classes]
        for i in range(per_class)
    ]
    return [text for text, _ in rows], [label for _, label in rows]


@pytest.fixture(scope="module")
def fitted() -> TextClassifier:
    return TextClassifier("lora", "practice", rank=4, epochs=3, lr=1e-2).fit(*table(12))


def test_it_learns_three_classes_and_knows_their_names(fitted):
    texts, labels = table(12)
    assert fitted.classes_.tolist() == ["food", "sport", "work"]
    assert fitted.score(texts, labels) > 0.9
    probabilities = fitted.predict_proba(texts)
    assert probabilities.shape == (36, 3) and np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert fitted.predict(texts).tolist() == fitted.classes_[probabilities.argmax(axis=1)].tolist()
    assert fitted.predict_proba([]).shape == (0, 3) and len(fitted.history_) == 4


@torch.no_grad()
def test_its_probabilities_are_those_of_the_plain_model(fitted):
    texts, _ = table(4)
    tokens, _ = encode(texts, get_tokenizer(), 200)
    batch = make_batch(tokens, [0] * len(tokens))
    logits = classify(fitted.model_.eval(), batch.tokens, batch.lengths)
    assert np.abs(logits.softmax(dim=-1).numpy() - fitted.predict_proba(texts)).max() < 1e-5


def test_the_same_number_gives_the_same_classifier_and_another_another():
    texts, labels = table(4)
    one, same, other = (
        TextClassifier("head", "practice", epochs=1, random_state=n).fit(texts, labels) for n in (1, 1, 2)
    )
    assert np.array_equal(one.predict_proba(texts), same.predict_proba(texts))
    assert not np.allclose(one.predict_proba(texts), other.predict_proba(texts))


@pytest.mark.parametrize("labels", [[0, 1] * 6, [True, False] * 6, np.array(["b", "a"] * 6), pd.Series([7, 3] * 6)])
def test_labels_of_any_kind_come_back_as_they_were(labels, tmp_path):
    texts = pd.Series(table(4)[0])
    classifier = TextClassifier("head", "practice", epochs=1).fit(texts, labels)
    answers = classifier.predict(texts.to_numpy())
    assert answers.dtype.kind == np.asarray(labels).dtype.kind and set(answers) <= set(np.asarray(labels).tolist())
    loaded = TextClassifier.load(classifier.save(tmp_path / "run"))
    assert loaded.predict(texts).tolist() == answers.tolist()


def test_settings_are_read_changed_and_cloned_with_the_methods_options():
    classifier = TextClassifier("lora", rank=4)
    assert classifier.get_params()["rank"] == 4 and classifier.get_params()["epochs"] == 5
    assert classifier.set_params(rank=2, epochs=1) is classifier
    copied = clone(classifier)
    assert copied.get_params() == classifier.get_params() and copied is not classifier
    assert "rank=2" in repr(classifier)


def test_it_works_in_scikit_learns_tools():
    texts, labels = table(6, classes=2)
    scores = cross_val_score(TextClassifier("head", "practice", epochs=1), texts, labels, cv=2)
    assert scores.shape == (2,)
    search = GridSearchCV(TextClassifier("lora", "practice", epochs=1), {"rank": [1, 2], "lr": [1e-3]}, cv=2)
    assert search.fit(texts, labels).best_params_["rank"] in (1, 2)
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipeline = make_pipeline(lower, TextClassifier("head", "practice", epochs=1)).fit(texts, labels)
    assert set(pipeline.predict(["SOUP"])) <= {"food", "sport"}


def test_a_saved_classifier_is_a_run_folder(fitted, tmp_path):
    texts, _ = table(4)
    folder = fitted.save(tmp_path / "run")
    loaded = TextClassifier.load(folder)
    assert np.array_equal(loaded.predict_proba(texts), fitted.predict_proba(texts))
    assert loaded.get_params()["rank"] == 4 and (folder / "curves.png").exists()
    with pytest.raises(InputError, match="holds a run already"):
        fitted.save(folder)
    with pytest.raises(InputError, match="not the folder of a run"):
        TextClassifier.load(tmp_path)


def test_rare_classes_count_more_when_balanced():
    texts, labels = table(10, classes=2)
    texts, labels = texts[:10] + texts[10:12], labels[:10] + labels[10:12]  # ten of food, two of sport
    settings = {"method": "head", "model": "practice", "epochs": 2, "validation_fraction": 0}
    plain = TextClassifier(**settings).fit(texts, labels).predict_proba(texts)[:, 1].mean()
    balanced = TextClassifier(**settings, class_weight="balanced").fit(texts, labels).predict_proba(texts)[:, 1].mean()
    assert balanced > plain + 0.1


@pytest.mark.parametrize(
    ("texts", "labels", "settings", "part"),
    [
        (["a", "b"], ["x"], {}, "2 texts, but labels of shape"),
        (["a", "b"], ["x", "x"], {}, "only one class, 'x'"),
        ("one text", ["x"], {}, "give a list"),
        (["a", None], ["x", "y"], {}, "text 1 is NoneType"),
        (["a", "b"], ["x", "y"], {"method": "lore"}, "unknown method 'lore'"),
        (["a", "b"], ["x", "y"], {"ranks": 3}, "no option 'ranks'"),
        (["a", "b"], ["x", "y"], {"class_weight": "even"}, "class_weight is 'even', expected None or 'balanced'"),
        (["a", "b"], ["x", "y"], {"validation_fraction": 1.5}, "validation_fraction is 1.5"),
        ([], [], {}, "no texts"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(texts, labels, settings, part):
    with pytest.raises(InputError, match=part) as caught:
        TextClassifier(model="practice", **settings).fit(texts, labels)
    assert "\n" not in str(caught.value)


def test_unfitted_it_says_so():
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        TextClassifier().predict(["a"])


def test_it_needs_neither_data_nor_scripts():
    import subprocess
    import sys
    from pathlib import Path

    code = "import sys, peft.estimator; print(sorted(m for m in sys.modules if m.split('.')[0] in ('data', 'common')))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout.strip() == "[]"


def test_the_adapter_is_what_apply_and_finetune_give(fitted):
    model = load_gpt2("practice")
    torch.manual_seed(123)
    peft.apply(add_classification_head(model, 3), "lora", rank=4)
    assert peft.trainable_parameters(model).keys() == peft.trainable_parameters(fitted.model_).keys()


# Of scikit-learn, those that train nothing. Of the others, check_no_attributes_set_in_init fails: which options
# there are depends on the method, so they are kept in one attribute. All further ones call fit with numbers as texts.
CHECKS = (
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_get_params_invariance",
    "check_set_params",
    "check_parameters_default_constructible",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_mixin_order",
)


@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learns_own_checks(name):
    from sklearn.utils import estimator_checks

    getattr(estimator_checks, name)("TextClassifier", TextClassifier("head", "practice", epochs=1))


def test_scikit_learn_knows_that_it_takes_texts_and_runs_no_further_check():
    from sklearn.utils.estimator_checks import check_estimator

    with pytest.warns(UserWarning, match="[Cc]an't test estimator TextClassifier which requires input"):
        results = check_estimator(TextClassifier("head", "practice", epochs=1), on_fail=None)
    assert results and all(result["status"] == "passed" for result in results)


def test_numpys_numbers_are_numbers(tmp_path):
    texts, labels = table(4)
    settings = {"epochs": np.int64(1), "batch_size": np.int64(4), "lr": np.float32(1e-3), "random_state": np.int64(5)}
    classifier = TextClassifier("lora", "practice", rank=np.int64(2), class_weight="balanced", **settings)
    folder = classifier.fit(texts, labels).save(tmp_path / "run")
    loaded = TextClassifier.load(folder)
    assert loaded.class_weight == "balanced" and loaded.predict(texts).tolist() == classifier.predict(texts).tolist()


@pytest.mark.parametrize(
    ("texts", "labels", "settings", "part"),
    [
        (["a", "b", "c"], [1.0, float("nan"), 0.0], {}, "label 1 is missing"),
        (["a", "b", "c"], pd.Series(["x", None, "y"]), {}, "label 1 is missing"),
        (np.array([["a", "b"]] * 3), [0, 1, 0], {}, "the shape"),
        (["a", "b"], [0, 1], {"random_state": None}, "random_state is None"),
        (["a", "b"], [0, 1], {"epochs": 0}, "epochs is 0"),
        (["a", "b"], [1, "a"], {}, r"label 1 is str \('a'\), expected a number as label 0 is"),
        (["a", "b"], pd.Series(["a", 1]), {}, r"label 1 is int \('1'\), expected a string as label 0 is"),
        (["a", "b"], [[0], [1]], {}, "label 0 is list"),
        ((text for text in "ab"), [0, 1], {}, "texts are one generator; give a list"),
    ],
)
def test_more_that_cannot_be_used(texts, labels, settings, part):
    with pytest.raises(InputError, match=part):
        TextClassifier("head", "practice", **settings).fit(texts, labels)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"epochs": 1.5}, "epochs is 1.5, expected a whole number of at least 1"),
        ({"batch_size": "8"}, "batch_size is '8', expected a whole number of at least 1"),
        ({"lr": "a"}, "lr is 'a', expected a number above 0"),
        ({"lr": float("inf")}, "lr is inf, expected a number above 0"),
        ({"validation_fraction": "x"}, "validation_fraction is 'x', expected a number of at least 0 and below 1"),
        ({"class_weight": {"x": 2}}, "class_weight is {'x': 2}, expected None or 'balanced'"),
        ({"method": ["lora"]}, "unknown method"),
        ({"device": ["cpu"]}, "unknown device"),
        ({"assets": 5}, "assets folder 5 does not exist"),
        ({"alpha": "a"}, "alpha is 'a', expected a number above 0"),
        ({"dropout": None}, "dropout is None, expected a number of at least 0 and below 1"),
        ({"target_modules": ["q_proj"]}, "target_modules is .*, expected a text"),
        ({"layers_to_transform": 3}, "layers_to_transform is 3, expected a text or None"),
        ({"train_head": "yes"}, "train_head is 'yes', expected True or False"),
        ({"modules_to_save": ["wte"]}, "modules_to_save is .*, expected a text or None"),
        ({"method": "adapter", "adapter_scale": "x"}, "adapter_scale is 'x', expected a finite number"),
        ({"method": "qlora", "bits": "4"}, "bits is '4', expected 4 or 8"),
    ],
)
def test_settings_of_a_wrong_type_are_named_with_what_was_expected(settings, part):
    with pytest.raises(InputError, match=part):
        TextClassifier(**{"model": "practice", "epochs": 1} | settings).fit(*table(2))


def test_a_folder_that_cannot_be_written_is_named(fitted, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match=f"cannot write {folder}: .*; choose another folder") as caught:
            fitted.save(folder)
        assert caught.value.argument == "folder"
