"""Fine-tune GPT-2 into a spam classifier by LoRA, with the whole training loop in view: the shortest way through the
code.

    python scripts/finetune_minimal.py

    this file  ──►  gpt2/classifier.py  ──►  gpt2/model.py  ──►  peft/lora.py
    the loop        which token is read      the blocks          W x + s · B A x

No options, no files: change the lines below. What scripts/finetune_spam.py adds: every method, warm-up and decay of the
learning rate, the best epoch, metrics, resuming, several processes.
"""

from common import cli


def main(argv: list[str]) -> None:
    cli.Parser(description=__doc__).parse_args(argv)

    import pandas as pd
    import torch
    import torch.nn.functional as F

    import peft
    from data import load_dataset
    from gpt2 import get_tokenizer, load_gpt2
    from gpt2.classifier import add_classification_head, classify
    from gpt2.training.batching import MessageBatches, encode

    torch.manual_seed(123)
    dataset = load_dataset("auto")
    model = load_gpt2("practice")  # "gpt2" is GPT-2 124M
    add_classification_head(model, num_classes=len(dataset.classes))
    peft.apply(model, "lora", rank=8, alpha=8)

    def batches_of(part: pd.DataFrame) -> MessageBatches:
        tokens, _ = encode(part.text.tolist(), get_tokenizer(), model.config.n_positions)
        return MessageBatches(tokens, part.label.tolist(), batch_size=8)

    train, test = batches_of(dataset.train), batches_of(dataset.test)
    trained = list(peft.trainable_parameters(model).values())
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    print(f"{sum(p.numel() for p in trained):,} parameters train on {len(dataset.train):,} messages")

    for epoch in range(2):
        model.train()
        for step, (tokens, lengths, labels) in enumerate(train.shuffled(seed=123, epoch=epoch)):
            logits = classify(model, tokens, lengths)  # (B, 2)
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 40 == 0:
                print(f"epoch {epoch + 1}, step {step:3}: loss {loss.item():.3f}", flush=True)

    model.eval()
    right = 0
    with torch.no_grad():
        for _, (tokens, lengths, labels) in test.by_length():
            right += int((classify(model, tokens, lengths).argmax(dim=-1) == labels).sum())
    print(f"test accuracy {right / len(dataset.test):.1%} on {len(dataset.test):,} messages")


if __name__ == "__main__":
    cli.run(main)
