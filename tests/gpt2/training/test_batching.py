"""Encoding, padding, and an order that a resumed run finds again."""

import pytest
import torch

from gpt2.errors import InputError
from gpt2.training.batching import CHUNK, PADDING, MessageBatches, cut, encode, encode_many, make_batch

MESSAGES = [[i] * (i + 1) for i in range(10)]  # message i holds the token i, i + 1 times
LABELS = [i % 2 for i in range(10)]


def seen(batches):
    return [row[0].item() for batch in batches for row in batch.tokens]


def test_encode_truncates_at_the_end_and_counts():
    from gpt2.tokenizer import get_tokenizer

    texts = ["Free prize", "See you at 8", "", "<|endoftext|>"]
    tokens, truncated = encode(texts, get_tokenizer(), 3)
    assert tokens[:3] == [[11146, 11596], [6214, 345, 379], [PADDING]]
    assert PADDING not in tokens[3]  # plain characters, not the special token
    assert truncated == 2
    with pytest.raises(InputError):
        encode(texts, get_tokenizer(), 0)


def test_many_texts_are_encoded_chunk_by_chunk_into_small_arrays():
    from gpt2.tokenizer import get_tokenizer

    texts = [f"{i} films and {'very ' * (i % 5)}good" for i in range(2 * CHUNK + 1)]
    arrays, truncated = encode_many(texts, get_tokenizer(), 8)
    expected = encode(texts, get_tokenizer(), 8)
    assert ([array.tolist() for array in arrays], truncated) == expected and truncated > 0
    assert {str(array.dtype) for array in arrays} == {"int32"}
    assert encode_many([], get_tokenizer(), 8) == ([], 0)


def test_padding():
    batch = make_batch([[1, 2, 3], [4]], [0, 1])
    assert batch.tokens.tolist() == [[1, 2, 3], [4, PADDING, PADDING]]
    assert batch.lengths.tolist() == [3, 1]
    assert batch.labels.tolist() == [0, 1]
    assert {part.dtype for part in batch} == {torch.int64}
    assert make_batch([[1, 2, 3], [4]], [0, 1], pad_to=5).tokens.shape == (2, 5)
    with pytest.raises(InputError, match="3 tokens does not fit into 2"):
        make_batch([[1, 2, 3]], [0], pad_to=2)


def test_large_batches_of_long_messages_have_a_bounded_number_of_tokens(monkeypatch):
    monkeypatch.setattr("gpt2.training.batching.MOST_TOKENS", 20)
    batches = MessageBatches(MESSAGES, LABELS, batch_size=2)  # of 1 to 10 tokens
    shapes = [tuple(batch.tokens.shape) for _, batch in batches.by_length(5)]
    assert shapes == [(4, 4), (2, 6), (2, 8), (2, 10)]  # never fewer messages than to train on
    assert [i for indices, _ in batches.by_length(5) for i in indices] == list(range(10))
    assert [len(indices) for indices, _ in batches.by_length()] == [2] * 5


def test_by_length_serves_every_message_once_with_its_place():
    messages = [MESSAGES[i] for i in (3, 0, 9, 5, 1, 8)]
    batches = MessageBatches(messages, [0, 1, 0, 1, 0, 1], batch_size=4, drop_last=True)
    served = list(batches.by_length())
    assert [places for places, _ in served] == [[1, 4, 0, 3], [5, 2]]  # shortest first, none dropped
    assert seen(batch for _, batch in served) == [0, 1, 3, 5, 8, 9]
    assert served[0][1].labels.tolist() == [1, 0, 0, 1]
    assert served[1][1].tokens.shape == (2, 10)


def test_batches_hold_messages_of_like_length_and_differ_between_epochs():
    lengths = torch.randint(5, 100, (400,), generator=torch.Generator().manual_seed(0)).tolist()
    batches = MessageBatches([[1] * n for n in lengths], [0] * 400, batch_size=8)
    padded = sum(batch.tokens.numel() for batch in batches.shuffled(1, 0))
    assert sum(lengths) < padded < 1.15 * sum(lengths)
    one, two = ({tuple(sorted(chosen)) for chosen in cut(batches.order(1, epoch), 8)} for epoch in (0, 1))
    assert len(one & two) < 5  # not the same batches again in another order


def test_shuffled_follows_the_order_of_seed_and_epoch():
    batches = MessageBatches(MESSAGES, LABELS, batch_size=4)
    order = batches.order(123, 0)
    assert sorted(order) == list(range(10))
    for batch in batches.shuffled(123, 0):
        for tokens, length, label in zip(batch.tokens, batch.lengths, batch.labels, strict=True):
            message = tokens[0].item()
            assert (length.item(), label.item()) == (message + 1, message % 2)
    assert seen(batches.shuffled(123, 0)) == order
    torch.manual_seed(1)  # neither the global generator nor earlier epochs matter
    assert MessageBatches(MESSAGES, LABELS, batch_size=4).order(123, 0) == order
    others = [batches.order(123, 1), batches.order(124, 0), batches.order(-1, 0)]
    assert order not in others and len({tuple(other) for other in others}) == 3


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_drop_last(drop_last, sizes):
    batches = MessageBatches(MESSAGES, LABELS, batch_size=4, drop_last=drop_last)
    assert len(batches) == len(sizes)
    assert [len(batch.labels) for batch in batches.shuffled(0, 0)] == sizes


def test_no_drop_when_the_last_batch_is_full():
    assert len(MessageBatches(MESSAGES, LABELS, batch_size=5, drop_last=True)) == 2
    assert len(MessageBatches(MESSAGES, LABELS, batch_size=5)) == 2


def test_pad_to_holds_for_every_batch():
    batches = MessageBatches(MESSAGES, LABELS, batch_size=3, pad_to=12)
    assert {batch.tokens.shape[1] for batch in batches.shuffled(0, 0)} == {12}


def test_impossible_batches():
    with pytest.raises(InputError, match="batch_size is 0"):
        MessageBatches(MESSAGES, LABELS, batch_size=0)
    with pytest.raises(InputError, match="batch_size is 11"):
        MessageBatches(MESSAGES, LABELS, batch_size=11, drop_last=True)
    with pytest.raises(ValueError, match="10 messages but 9 labels"):
        MessageBatches(MESSAGES, LABELS[:-1], batch_size=2)
