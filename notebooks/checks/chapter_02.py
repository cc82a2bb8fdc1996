"""Checks of chapter 02: causal weights, splitting heads, queries at the end, a softmax that never stores all scores."""

import math
import weakref

import torch
import torch.nn.functional as F

from checks import close, forbidden, tensor_of
from course import Wrong, exercise
from gpt2.model import plain_attention


@exercise("02.1")
def check_causal_weights(causal_weights):
    draw = torch.Generator().manual_seed(3)
    for shape in ((3, 3), (1, 1), (2, 5, 5), (2, 3, 4, 4)):
        scores = 2 * torch.randn(shape, generator=draw)
        before = scores.clone()
        found = tensor_of(causal_weights(scores), shape)
        if not torch.equal(scores, before):
            raise Wrong("your function changes the scores it was given; make a new tensor instead")
        if found.isnan().any():
            raise Wrong("there are NaN: a row in which every score is hidden has no softmax; may a token see itself?")
        if found.triu(diagonal=1).abs().max() > 0:
            raise Wrong("there is weight above the diagonal, on the future; which score gives exactly the weight 0?")
        if not close(found.sum(dim=-1), torch.ones(shape[:-1])):
            if close(found.sum(dim=-2), torch.ones(shape[:-1])):
                raise Wrong("the columns sum to 1, not the rows: the softmax runs along the wrong dimension")
            raise Wrong("the rows do not sum to 1: does the future take part in the softmax before it is hidden?")
        hidden = torch.ones(shape, dtype=torch.bool).triu(diagonal=1)
        if not close(found, before.masked_fill(hidden, -math.inf).softmax(dim=-1)):
            raise Wrong("rows sum to 1 and the future is hidden, but these are not the softmax of the visible scores")


@exercise("02.2")
def check_heads(split_heads, join_heads):
    for B, T, H, D in ((1, 2, 3, 2), (2, 5, 4, 3), (3, 1, 2, 8), (2, 4, 1, 6), (2, 3, 3, 3)):
        x = torch.arange(B * T * H * D, dtype=torch.float32).view(B, T, H * D)
        found = tensor_of(split_heads(x, H), (B, H, T, D))
        expected = torch.stack([x[:, :, h * D : (h + 1) * D] for h in range(H)], dim=1)
        if not torch.equal(found, expected):
            if torch.equal(found, x.view(B, H, T, D)):
                raise Wrong("split_heads: right shape, but tokens and heads are mixed; cut first, then swap")
            raise Wrong("split_heads: right shape, wrong numbers; head h gets the numbers hD to (h+1)D of each token")
        back = tensor_of(join_heads(expected.clone()), (B, T, H * D))
        if not torch.equal(back, x):
            raise Wrong("join_heads: right shape, but it does not undo split_heads; which dimension comes first again?")


REFUSED = "neither plain_attention nor PyTorch's kernel may be called: write the formula yourself"


@exercise("02.3")
def check_attend(attend):
    draw = torch.Generator().manual_seed(4)
    for B, H, T, S, D in ((1, 1, 3, 3, 4), (2, 3, 5, 5, 8), (2, 2, 2, 6, 4), (1, 2, 1, 7, 9)):
        q = torch.randn(B, H, T, D, generator=draw)
        k, v = torch.randn(2, B, H, S, D, generator=draw)
        with forbidden(attend, REFUSED, plain_attention, F.scaled_dot_product_attention):
            found = tensor_of(attend(q, k, v), q.shape)
        expected = plain_attention(q, k, v)
        if close(found, expected):
            continue
        where = f"with {T} queries and {S} keys"
        visible = torch.ones(T, S, dtype=torch.bool).tril(S - T)
        products = q @ k.transpose(-2, -1)
        if close(found, (products / math.sqrt(D)).softmax(dim=-1) @ v):
            raise Wrong(f"{where}: nothing is hidden; a query may not look at keys that come after it")
        for scale in (1, D, math.sqrt(H * D), math.sqrt(S)):
            if close(found, (products / scale).masked_fill(~visible, -math.inf).softmax(dim=-1) @ v):
                raise Wrong(f"{where}: the mask is right, the scale of the scores is not")
        if S > T:
            raise Wrong(f"{where}: wrong, though it may be right for T = S; at which position does query 0 stand?")
        raise Wrong(f"{where}: not softmax(QKᵀ/√D)V with a causal mask; check mask, scale, and the softmax's dimension")


class OneAtATime:
    """Chunks that are available once, and that notice when they are kept."""

    def __init__(self, chunks):
        self.chunks, self.given, self.ended = iter(chunks), [], False

    def __iter__(self):
        return self

    def __next__(self):
        if self.ended:
            raise Wrong("you go through the chunks a second time, but they are available only once")
        if sum(reference() is not None for reference in self.given) > 4:  # a loop may still hold the last two pairs
            raise Wrong("you keep chunks that you have been through; keep three things only, and let the chunks go")
        try:
            k, v = (tensor.clone() for tensor in next(self.chunks))
        except StopIteration:
            self.ended = True
            raise
        self.given += [weakref.ref(k), weakref.ref(v)]
        return k, v


@exercise("02.4")
def check_stream(stream):
    draw = torch.Generator().manual_seed(5)
    cases = [("one chunk", 1.0, [6]), ("equal chunks", 1.0, 5 * [3]), ("chunks of different size", 2.0, [1, 4, 2, 9])]
    cases += [("large scores", 400.0, [2, 5, 1, 3]), ("very negative scores", -400.0, [4, 3])]
    for what, scale, sizes in cases:
        q = torch.randn(8, generator=draw).abs()
        k, v = torch.randn(sum(sizes), 8, generator=draw).abs() * scale, torch.randn(sum(sizes), 3, generator=draw)
        found = tensor_of(stream(q, OneAtATime(zip(k.split(sizes), v.split(sizes), strict=True))), (3,))
        if not found.isfinite().all():
            raise Wrong(f"{what}: NaN or infinite; what may be subtracted from all scores without changing a softmax?")
        if not torch.allclose(found, torch.softmax(k @ q / math.sqrt(8), dim=0) @ v, atol=1e-4):
            if close(found, torch.softmax(k @ q, dim=0) @ v):
                raise Wrong(f"{what}: the scores are not divided by √D")
            if len(sizes) == 1:
                raise Wrong(f"{what}: not even a plain softmax comes out; begin with this case")
            chunks = zip(k.split(sizes), v.split(sizes), strict=True)
            means = [torch.softmax(a @ q / math.sqrt(8), dim=0) @ b for a, b in chunks]
            if close(found, torch.stack(means).mean(dim=0)):
                raise Wrong(f"{what}: each chunk has its own softmax; a chunk with larger scores must weigh more")
            raise Wrong(f"{what}: wrong; when a larger score comes, what happens to what was gathered before?")
