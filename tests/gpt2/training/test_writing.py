"""Fine-tuning to write: loss on target tokens only, whatever the batch; the same loop as for classifiers."""

import math

import pytest
import torch
import torch.nn.functional as F

import peft
from gpt2 import InputError, get_tokenizer, load_gpt2
from gpt2.classifier import add_classification_head
from gpt2.language import IGNORED, next_token_labels, target_logits, targets
from gpt2.tokenizer import END_OF_TEXT
from gpt2.training.finetune import finetune
from gpt2.training.recipe import Recipe
from gpt2.training.writing import WRITING, PairBatches, encode_pairs, perplexity, prompt_tokens

CPU = torch.device("cpu")
SOURCES = ["name[Blue Spice], eatType[pub]", "name[The Mill]", ""]
TARGETS = ["Blue Spice is a pub.", "The Mill is there.", "No source at all."]


def pairs(batch_size: int = 2, **options) -> PairBatches:
    token_lists, starts, _ = encode_pairs(SOURCES, TARGETS, get_tokenizer(), 64, **options)
    return PairBatches(token_lists, starts, batch_size)


def test_labels_by_hand():
    tokens, lengths = torch.tensor([[5, 6, 7, 8], [5, 9, 0, 0]]), torch.tensor([4, 2])
    labels = next_token_labels(tokens, lengths, torch.tensor([2, 1]))
    assert labels.tolist() == [[-100, 7, 8, -100], [9, -100, -100, -100]]
    assert targets(labels).tolist() == [7, 8, 9]


def test_what_is_learned_is_the_target_and_its_end():
    tokenizer = get_tokenizer()
    _, batch = next(pairs(3).by_length())
    asked = [tokenizer.decode(row[row != IGNORED].tolist()) for row in batch.labels]
    assert sorted(asked) == sorted(text + "<|endoftext|>" for text in TARGETS)
    _, batch = next(pairs(3, include_source=True).by_length())
    asked = {tokenizer.decode(row[row != IGNORED].tolist()) for row in batch.labels}
    first = tokenizer.decode([tokenizer.encode(SOURCES[1])[0]])  # nothing stands before it that could predict it
    assert (SOURCES[1] + "\n" + TARGETS[1] + "<|endoftext|>").removeprefix(first) in asked


def test_the_prompt_is_the_beginning_of_what_was_learned_from():
    token_lists, starts, _ = encode_pairs(SOURCES, TARGETS, get_tokenizer(), 64)
    for prompt, tokens, start in zip(prompt_tokens(SOURCES, get_tokenizer()), token_lists, starts, strict=True):
        assert tokens[:start] == prompt
    assert prompt_tokens([""], get_tokenizer()) == [[END_OF_TEXT]]


@pytest.mark.parametrize("method", [None, "lora", "prefix", "prompt", "p-tuning", "adapter", "ia3"])
def test_padded_packed_and_alone_give_the_same_logits(method):
    model = load_gpt2("practice")
    if method:
        peft.apply(model, method)
    tokens, lengths, labels = next(pairs(3).first())
    with torch.no_grad():
        padded = target_logits(model, tokens, lengths, labels)
        packed = target_logits(model, tokens, lengths, labels, "packed")
        rows = zip(tokens, lengths, labels, strict=True)
        alone = [target_logits(model, text[None, :n], n[None], asked[None, :n]) for text, n, asked in rows]
    assert padded.shape == ((labels != IGNORED).sum(), 50257)
    torch.testing.assert_close(padded, packed, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(padded, torch.cat(alone), atol=1e-4, rtol=1e-4)
    if method is None:
        with torch.no_grad():
            expected = F.cross_entropy(model(tokens).transpose(1, 2), labels)
        torch.testing.assert_close(F.cross_entropy(packed, targets(labels)), expected, atol=1e-5, rtol=1e-5)


def test_the_loss_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    from gpt2.checkpoints.weights import save_gpt2

    model = load_gpt2("practice")
    save_gpt2(model, tmp_path)
    library = transformers.GPT2LMHeadModel.from_pretrained(tmp_path).eval()
    tokens, lengths, labels = next(pairs(3).first())
    ours = torch.cat([torch.full((3, 1), IGNORED), labels[:, :-1]], dim=1)  # the library shifts by itself
    mask = (torch.arange(tokens.size(1)) < lengths[:, None]).long()
    with torch.no_grad():
        expected = library(tokens, attention_mask=mask, labels=ours).loss.item()
    measured = perplexity(model, pairs(3), CPU)
    assert measured["loss"] == pytest.approx(expected, abs=1e-4)
    assert (
        measured["perplexity"] == pytest.approx(math.exp(expected), rel=1e-4)
        and measured["n"] == (labels != IGNORED).sum()
    )


@pytest.mark.parametrize("method", ["lora", "full", "prefix", "adapter"])
def test_the_loop_learns_pairs_by_heart(method):
    torch.manual_seed(0)
    model = load_gpt2("practice")
    head = model.lm_head.weight
    peft.apply(model, method)
    before = perplexity(model, pairs(), CPU)["loss"]
    recipe = Recipe(lr={"prefix": 3e-2, "full": 1e-3}.get(method, 1e-2), epochs=12, label_smoothing=0.01)
    progress = finetune(model, pairs(), pairs(), recipe, CPU, task=WRITING)
    assert perplexity(model, pairs(), CPU)["loss"] < 0.8 * before
    assert progress.best_row["validation_loss"] == min(row["validation_loss"] for row in progress.history[1:])
    if method != "full":
        assert model.lm_head.weight is head and not head.requires_grad  # the tied head is left alone


def test_accumulated_batches_weigh_each_target_token_alike():
    """Two batches of one step give the gradient of one large batch, though their targets are of different lengths."""
    gradients = []
    for size, accumulate in ((2, 2), (4, 1)):
        model = load_gpt2("practice")
        peft.apply(model, "bitfit")
        recipe = Recipe(lr=1e-12, epochs=1, accumulate=accumulate, clip=None, keep_best=False, weight_decay=0)
        finetune(model, pairs(size), pairs(size), recipe, CPU, task=WRITING)
        gradients.append(torch.cat([p.grad.flatten() for p in peft.trainable_parameters(model).values()]))
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_bad_pairs():
    encode = get_tokenizer()
    with pytest.raises(InputError, match="pair 2: the target is empty"):
        encode_pairs(["a", "b"], ["x", "  "], encode, 64)
    with pytest.raises(InputError, match="has 9 tokens with the separator, which leaves no room for a target within 5"):
        encode_pairs(["one two three four five six seven eight"], ["x"], encode, 5)
    _, _, truncated = encode_pairs(["a"], ["one two three four five six"], encode, 5)
    assert truncated == 1
    classifier = add_classification_head(load_gpt2("practice"), 2)
    with pytest.raises(InputError, match="is a classifier"):
        target_logits(classifier, torch.tensor([[1, 2]]), torch.tensor([2]), torch.tensor([[2, -100]]))
    with pytest.raises(InputError, match="expected the same shape"):
        target_logits(load_gpt2("practice"), torch.tensor([[1, 2]]), torch.tensor([2]), torch.tensor([2]))
