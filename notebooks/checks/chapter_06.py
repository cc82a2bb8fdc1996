"""Checks of chapter 06: reading one vector per message, the surgery, verdicts per token, training a head."""

from unittest.mock import patch

import torch
from torch import nn

from checks import Computed, forbidden, tensor_of
from course import Wrong, exercise
from gpt2 import GPT2, GPT2Config
from gpt2.classifier import add_classification_head, classify


def messages() -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states (4, 9, 5) and lengths, none of which reaches the width."""
    generator = torch.Generator().manual_seed(6)
    return torch.randn(4, 9, 5, generator=generator), torch.tensor([3, 1, 8, 6])


def small_model(classes: int | None = None) -> GPT2:
    torch.manual_seed(6)
    model = GPT2(GPT2Config(vocab_size=50, n_positions=16, n_embd=24, n_layer=2, n_head=2)).eval()
    return model if classes is None else add_classification_head(model, classes)


@exercise("06.1")
def check_read_last(read_last) -> None:
    h, lengths = messages()
    rows = torch.arange(len(h))
    answer = read_last(h, lengths)
    if isinstance(answer, torch.Tensor) and answer.shape == (4, 4, 5):
        raise Wrong("shape (B, B, C): every column was taken from every row; the two indices must be read in pairs")
    tensor_of(answer, (4, 5))
    if torch.equal(answer, h[:, -1]):
        raise Wrong("that is the last column of the batch, which is padding here; use lengths")
    if torch.equal(answer, h[:, 0]):
        raise Wrong("that is the first token of each message")
    if torch.equal(answer, h[rows, lengths]):
        raise Wrong("one too far: at which index does a message of one token have its last token?")
    if not torch.equal(answer, h[rows, lengths - 1]):
        raise Wrong("the shape is right, but these are not the vectors of the last real tokens")
    full = torch.tensor([9, 9, 2, 9])  # nothing padded: the index must stay inside
    if not torch.equal(read_last(h, full), h[rows, full - 1]):
        raise Wrong("wrong for a message that fills the whole width")
    operations = []
    for repeats in (1, 10):
        more, lengths_of_more = h.repeat(repeats, 1, 1), lengths.repeat(repeats)
        with Computed() as computed:
            read_last(more, lengths_of_more)
        operations.append(computed.operations)
    if operations[1] > operations[0]:
        raise Wrong("right, but ten times as many messages need more operations: that is a loop; index all at once")


@exercise("06.2")
def check_masked_mean(masked_mean) -> None:
    h, lengths = messages()
    wanted = torch.stack([row[:n].mean(dim=0) for row, n in zip(h, lengths.tolist(), strict=True)])
    answer = masked_mean(h, lengths)
    tensor_of(answer, (4, 5))
    if torch.allclose(answer, h.mean(dim=1), atol=1e-5):
        raise Wrong("that is the mean over all positions, padding included")
    if torch.allclose(answer * 9 / lengths[:, None], wanted, atol=1e-5):
        raise Wrong("the sum is right, but it is divided by the width of the batch: how many vectors were summed?")
    if not torch.allclose(answer, wanted, atol=1e-5):
        more = torch.stack([row[: n + 1].sum(dim=0) / n for row, n in zip(h, lengths.tolist(), strict=True)])
        if torch.allclose(answer, more, atol=1e-5):
            raise Wrong("one vector too many is in the sum: look at the comparison that makes the mask")
        raise Wrong("the shape is right, the numbers are not the means over the real tokens")
    loud = h.clone()
    for row, n in zip(loud, lengths.tolist(), strict=True):
        row[n:] = 1e6
    if not torch.allclose(masked_mean(loud, lengths), wanted, atol=1e-4):
        raise Wrong("large numbers at padding positions change the result")


@exercise("06.3")
def check_cut_head(cut_head) -> None:
    for classes in (2, 5):
        model = small_model()
        before = {name: value.clone() for name, value in model.state_dict().items() if "lm_head" not in name}
        old_head = model.lm_head
        cut_head(model, classes)
        if model.wte.weight.shape != before["wte.weight"].shape:
            raise Wrong("the token embedding has changed its shape: tokens still have to get in")
        if model.lm_head is old_head and old_head.weight.shape[0] == 50:
            raise Wrong("model.lm_head is still the old one: change the model that was passed in")
        if not isinstance(model.lm_head, nn.Linear):
            raise Wrong(f"model.lm_head is {type(model.lm_head).__name__}, expected a linear layer")
        if tuple(model.lm_head.weight.shape) != (classes, 24):
            shape = tuple(model.lm_head.weight.shape)
            raise Wrong(f"the head's weight is {shape}, expected (classes, width of the model) = ({classes}, 24)")
        if model.lm_head.bias is None:
            raise Wrong("the new head has no bias")
        if model.lm_head.weight.untyped_storage().data_ptr() == model.wte.weight.untyped_storage().data_ptr():
            raise Wrong("the head still shares memory with the token embedding")
        after = model.state_dict()
        changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
        if changed:
            raise Wrong(f"something besides the head has changed: {changed[0]}")
        if tuple(model(torch.zeros(3, 7, dtype=torch.long)).shape) != (3, 7, classes):
            raise Wrong("model(tokens) is not (B, T, classes)")


@exercise("06.4")
def check_verdict_by_token(verdict_by_token) -> None:
    model = small_model(2)
    with torch.no_grad():
        model.lm_head.weight.mul_(8)  # verdicts that differ clearly from token to token
    tokens = torch.randint(0, 50, (11,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        prefixes = [classify(model, tokens[None, : t + 1], torch.tensor([t + 1]))[0] for t in range(len(tokens))]
    logits = torch.stack(prefixes)  # (T, 2)
    calls = []
    model.h[0].register_forward_pre_hook(lambda *_: calls.append(1))  # however it is called, a pass comes by
    answer = verdict_by_token(model, tokens)
    if isinstance(answer, torch.Tensor) and answer.shape == (1, 11):
        raise Wrong("shape (1, T): remove the batch dimension that you put in front")
    tensor_of(answer, (11,))
    if torch.allclose(answer, logits[:, 1], atol=1e-4):
        raise Wrong("these are logits, not probabilities")
    if torch.allclose(answer.sum(), torch.tensor(1.0), atol=1e-4):
        raise Wrong("your numbers add up to 1 over the tokens: over which dimension does the softmax have to go?")
    if torch.allclose(answer, logits.softmax(dim=-1)[:, 0], atol=1e-4):
        raise Wrong("that is the probability of class 0")
    if not torch.allclose(answer, logits.softmax(dim=-1)[:, 1], atol=1e-4):
        raise Wrong("the numbers differ from those that the cut-off messages give one by one")
    if len(calls) > 1:
        raise Wrong(f"right numbers, but the model was called {len(calls)} times: one call is enough")


@exercise("06.5")
def check_train_head(train_head) -> None:
    for classes, C in ((3, 16), (5, 12)):
        generator = torch.Generator().manual_seed(65)
        centres = 2.5 * torch.randn(classes, C, generator=generator)
        labels = torch.randint(0, classes, (400,), generator=generator)
        features = centres[labels] + torch.randn(400, C, generator=generator)
        given = features[:300].clone()
        torch.manual_seed(65)
        with forbidden(train_head, "PyTorch only: write the training loop yourself", "sklearn"):
            head = train_head(given, labels[:300], classes)
        if isinstance(head, torch.Tensor):
            raise Wrong("a tensor came back: return the trained layer itself")
        if not isinstance(head, nn.Linear):
            raise Wrong(f"the function returned {type(head).__name__}, expected an nn.Linear")
        if tuple(head.weight.shape) != (classes, C):
            raise Wrong(f"the layer's weight is {tuple(head.weight.shape)}, expected (classes, C) = ({classes}, {C})")
        if not torch.equal(given, features[:300]):
            raise Wrong("the features were changed; they are fixed, only the head is trained")
        with torch.no_grad():
            right = (head(features[300:]).argmax(dim=-1) == labels[300:]).float().mean().item()
        if right < 0.6:
            raise Wrong(
                f"{right:.0%} on new examples, hardly learned: print the loss in your loop. Does it move, and down?"
            )
        if right < 0.9:
            raise Wrong(f"{right:.0%} on new examples: on the way, but train longer or with a larger learning rate")


@exercise("06.6")
def check_adamw_step(adamw_step) -> None:
    def refuse(*_, **__):
        raise Wrong("torch.optim makes the step here; write it with plain arithmetic on tensors")

    generator = torch.Generator().manual_seed(66)
    for lr, betas, eps, decay in ((0.01, (0.9, 0.999), 1e-8, 0.0), (0.05, (0.8, 0.95), 0.1, 0.6)):
        w = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        parameter = nn.Parameter(w.clone())
        optimizer = torch.optim.AdamW([parameter], lr=lr, betas=betas, eps=eps, weight_decay=decay)
        m, v = torch.zeros_like(w), torch.zeros_like(w)
        for t in range(1, 7):
            g = torch.randn(3, 4, generator=generator, dtype=torch.float64)
            parameter.grad = g.clone()
            optimizer.step()
            with patch.object(torch.optim.Optimizer, "__init__", refuse):
                answer = adamw_step(w.clone(), g.clone(), m.clone(), v.clone(), t, lr, betas, eps, decay)
            if not isinstance(answer, (tuple, list)) or len(answer) != 3:
                raise Wrong("return three tensors: the new w, m and v")
            for tensor in answer:
                tensor_of(tensor, (3, 4))
            state = optimizer.state[parameter]
            wanted = parameter.detach(), state["exp_avg"], state["exp_avg_sq"]
            where = f"step {t}, lr {lr}, betas {betas}, eps {eps}, decay {decay}"
            for name, mine, theirs in zip("wmv", answer, wanted, strict=True):
                if name != "w" and not torch.allclose(mine.to(theirs), theirs, rtol=1e-6, atol=1e-9):
                    raise Wrong(f"{where}: {name} differs; it is made of the old {name} and of the gradient alone")
            if not torch.allclose(answer[0].to(w), wanted[0], rtol=1e-6, atol=1e-9):
                hint = adamw_hint(answer[0], w, *wanted[1:], t, lr, betas, eps, decay)
                raise Wrong(f"{where}: m and v are right, w is not{hint}")
            w, m, v = (tensor.clone() for tensor in wanted)


def adamw_hint(answer, w, m, v, t, lr, betas, eps, decay) -> str:
    """What went wrong in a step of which m and v are right, as the end of a sentence."""
    m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    step, kept = m_hat / (v_hat.sqrt() + eps), (1 - lr * decay) * w
    typical = {
        kept - lr * m / (v.sqrt() + eps): ": where are the hats (the bias correction)?",
        kept - lr * m_hat / (v_hat + eps).sqrt(): ": epsilon stands outside the root",
        w - lr * step: ": what about the weight decay?",
        (1 - decay) * w - lr * step: ": the decay is scaled by the learning rate as well",
        (1 - lr * decay) * (w - lr * step): ": the decay concerns the old w, not the step",
        kept + lr * step: ": a step goes against the gradient",
    }
    return next((hint for wrong, hint in typical.items() if torch.allclose(answer.to(w), wrong, atol=1e-9)), "")
