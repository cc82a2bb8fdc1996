"""The two tasks of the course, and their baselines."""

import torch

import peft
from data import leaked
from two_tasks import FACTORS, MESSAGES, baselines, tune, two_tasks

CPU = torch.device("cpu")


def test_two_tasks_and_what_a_method_has_to_beat():
    spam, words = two_tasks()
    assert len(spam.train.labels) == len(words.train.labels) == MESSAGES
    assert leaked(spam.dataset.train, spam.dataset.test).empty
    model = words.classifier("practice", CPU)
    again = words.classifier("practice", CPU)
    assert model.lm_head.weight.equal(again.lm_head.weight) and model.lm_head.out_features == 4
    untrained = words.classifier("practice", CPU, pretrained=False)
    assert untrained.config == model.config and not untrained.wte.weight.equal(model.wte.weight)
    assert set(FACTORS) <= set(peft.METHODS)

    found = baselines(words, "practice", CPU)  # a chance of 25 %, and 600 test sentences
    assert found["TF-IDF"]["accuracy"] < 0.35 and found["head on random weights"]["accuracy"] < 0.35
    assert tune(peft.apply(model, "selective"), words, "selective")["accuracy"] > 0.45
