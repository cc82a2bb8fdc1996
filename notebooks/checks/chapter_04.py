"""Checks of chapter 04: taking c_attn apart, top-p, the likelihood of a text, beam search."""

import torch

from checks import close, random_model, returned, tensor_of
from course import Wrong, exercise
from gpt2 import GPT2, generate

SHAPE = {"n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 3}


@exercise("04.1")
def check_split(split_c_attn):
    draw = torch.Generator().manual_seed(11)
    for C in (3, 4, 6, 10):
        weight, bias, x = (torch.randn(shape, generator=draw) for shape in ((C, 3 * C), (3 * C,), (2, C)))
        found = returned(split_c_attn(weight, bias))
        if not isinstance(found, list | tuple) or len(found) != 3 or any(len(pair) != 2 for pair in found):
            raise Wrong("a list of three pairs (weight, bias) is expected")
        for i, (name, (w, b)) in enumerate(zip(("query", "key", "value"), found, strict=True)):
            w, b = tensor_of(w, (C, C)), tensor_of(b, (C,))
            expected = (x @ weight + bias)[:, i * C : (i + 1) * C]
            if close(x @ w.T + b, expected):
                continue
            if close(x @ w + b, expected):
                raise Wrong(f"{name}: the right part, but as (in, out); nn.Linear wants the other way round")
            if close(b, bias[i * C : (i + 1) * C]):
                raise Wrong(f"{name}: the bias is right, the weight is not; along which dimension do the three lie?")
            raise Wrong(f"{name}: another function than the stored layer's; all queries come first, then all keys")


@exercise("04.2")
def check_nucleus(nucleus):
    draw = torch.Generator().manual_seed(12)
    cases = [(torch.tensor([[0.1, 0.5, 0.4], [0.8, 0.1, 0.1]]).log(), p) for p in (0.45, 0.75, 0.95, 1.0)]
    cases += [(2 * torch.randn(5, 30, generator=draw), p) for p in (0.02, 0.3, 0.9)]
    cases += [(torch.randn(1, 7, generator=draw), 0.6)]
    for logits, p in cases:
        before = logits.clone()
        found = tensor_of(nucleus(logits, p), logits.shape)
        if not torch.equal(logits, before):
            raise Wrong("your function changes the logits it was given; make new tensors instead")
        if found.isnan().any() or (found < 0).any():
            raise Wrong(f"p = {p}: there are NaN or negative probabilities; does at least one token stay in each row?")
        expected = torch.zeros_like(logits)
        for row, target in zip(before.softmax(dim=-1), expected, strict=True):
            total = 0.0
            for i in row.argsort(descending=True).tolist():
                if total >= p and total > 0:
                    break
                target[i], total = row[i], total + row[i].item()
        kept = expected / expected.sum(dim=-1, keepdim=True)
        few, want = (found > 0).sum(dim=-1), (kept > 0).sum(dim=-1)
        if close(found, kept):
            if p < 1 and not torch.equal(few, want):  # at 1 the last tokens depend on rounding
                raise Wrong(f"p = {p}: the tokens outside have tiny probabilities; exactly 0 is asked for")
            continue
        if close(found, expected):
            raise Wrong(f"p = {p}: the right tokens, but the rows no longer sum to 1")
        if close(found.sort(dim=-1).values, kept.sort(dim=-1).values):
            raise Wrong(f"p = {p}: the right probabilities at the wrong indices: they are sorted, tokens are not")
        if ((few - want) <= 0).all() and ((few - want) >= -1).all() and (few < want).any():
            raise Wrong(f"p = {p}: one token too few: the one with which the sum reaches p belongs to the nucleus")
        if (few > want).any():
            raise Wrong(f"p = {p}: too many tokens are left in some row")
        raise Wrong(f"p = {p}: not the fewest likeliest tokens of each row that reach p")


@exercise("04.3")
def check_log_likelihood(log_likelihood):
    model = random_model(0.5, seed=10, vocab_size=17, **SHAPE)
    for B, T, start in ((1, 2, 1), (2, 6, 1), (3, 8, 5), (2, 9, 8)):
        tokens = torch.randint(17, (B, T), generator=torch.Generator().manual_seed(T))
        found = log_likelihood(model, tokens, start)
        if isinstance(found, torch.Tensor) and found.dim() == 0 and B > 1:
            raise Wrong("one number for the whole batch; one for each text is asked for")
        found = tensor_of(found, (B,))
        with torch.no_grad():
            logits = model(tokens)
        log_p, positions = logits.log_softmax(dim=-1), range(start, T)
        rows = torch.arange(B)
        expected = sum(log_p[rows, t - 1, tokens[:, t]] for t in positions)
        if close(found, expected):
            continue
        where = f"for {T} tokens and start {start}"
        if close(found, sum(log_p[rows, t, tokens[:, t]] for t in positions)):
            raise Wrong(f"{where}: the row of a token says what comes after it, not how likely the token itself was")
        later = torch.zeros(B) + sum(log_p[rows, t - 1, tokens[:, t]] for t in range(start + 1, T))
        if close(found, later):
            raise Wrong(f"{where}: token number {start} is left out; in which row does its probability stand?")
        if close(found * len(positions), expected):
            raise Wrong(f"{where}: that is the mean, the sum is asked for")
        if close(found, -expected):
            raise Wrong(f"{where}: the sign is turned round; logs of probabilities are negative")
        if close(found, sum(logits[rows, t - 1, tokens[:, t]] for t in positions)):
            raise Wrong(f"{where}: these are sums of raw logits; what makes log-probabilities of them?")
        raise Wrong(f"{where}: wrong sum; write down, for T = 3, which row belongs to which token")


@exercise("04.4")
def check_beam_search(beam_search):
    model = random_model(0.5, seed=13, vocab_size=5, **SHAPE)
    for start in ([1], [3, 0, 2], [4, 4]):
        prompt = torch.tensor(start)
        T = len(prompt)
        for steps, width in ((1, 3), (3, 1), (3, 2), (4, 4), (3, 125), (2, 40)):
            result = beam_search(model, prompt, steps, width)
            if not isinstance(result, list | tuple) or len(result) != 2:
                raise Wrong("two things are expected: texts and scores")
            expected_texts, expected = reference_beams(model, prompt, steps, width)
            where = f"prompt of {T}, {steps} steps, width {width}"
            texts, scores = result
            texts = tensor_of(texts, expected_texts.shape)
            scores = tensor_of(scores, expected.shape)
            if torch.equal(texts, expected_texts) and close(scores, expected):
                continue
            if not torch.equal(texts[:, :T], prompt.expand(len(texts), -1)):
                raise Wrong(f"{where}: a text does not begin with the prompt")
            if len({tuple(row) for row in texts.tolist()}) < len(texts):
                raise Wrong(f"{where}: the same text is kept more than once; do the beginnings start out different?")
            if width == 1 and not torch.equal(texts, generate(model, prompt[None], steps)):
                raise Wrong(f"{where}: with width 1 it should be greedy")
            with torch.no_grad():
                log_p = model(texts).log_softmax(dim=-1)[:, T - 1 : -1].gather(2, texts[:, T:, None])[..., 0]
            if not close(scores, log_p.sum(dim=-1)):
                if close(scores, log_p[:, -1]):
                    raise Wrong(f"{where}: a score is that of the last token only; what was earned before is lost")
                raise Wrong(f"{where}: scores are not the sums of the log-probabilities of the new tokens")
            if (scores.diff() > 1e-5).any():
                raise Wrong(f"{where}: the best text should come first")
            raise Wrong(f"{where}: scores fit the texts, but better texts were dropped; do all extensions compete?")


@torch.no_grad()
def reference_beams(model: GPT2, prompt: torch.Tensor, steps: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    beams = [(0.0, prompt.tolist())]
    for _ in range(steps):
        log_p = model(torch.tensor([text for _, text in beams]))[:, -1].log_softmax(dim=-1).tolist()
        grown = [
            (score + p, [*text, i]) for (score, text), row in zip(beams, log_p, strict=True) for i, p in enumerate(row)
        ]
        beams = sorted(grown, key=lambda beam: -beam[0])[:width]
    return torch.tensor([text for _, text in beams]), torch.tensor([score for score, _ in beams])
