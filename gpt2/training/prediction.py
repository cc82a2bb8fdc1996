"""What a trained classifier says to many messages: used to evaluate it, and to use it."""

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gpt2.classifier import classify
from gpt2.devices import autocast, to_device
from gpt2.training.batching import MessageBatches
from gpt2.training.frozen_features import FrozenFeatureCache, choose_batching


@torch.no_grad()
def predict(
    model: nn.Module,
    batches: MessageBatches,
    device: torch.device,
    pooling: str = "last",
    batching: str | None = None,
    features: FrozenFeatureCache | None = None,
) -> tuple[Tensor, Tensor]:
    """Class logits (n, classes) and labels (n,), on the CPU, in the data's order, whatever the order of computing.

    ``batching`` and ``features``: see ``classify``; None: what costs least on this device. The model is in evaluation
    mode meanwhile.
    """
    batching = batching or choose_batching(model, device, pooling)[0]
    was_training = model.training
    model.eval()
    order, all_logits, all_labels = [], [], []
    bar = tqdm(batches.by_length(), desc="evaluating", total=len(batches), unit="batch", leave=False, disable=None)
    for indices, batch in bar:
        tokens, lengths, labels = to_device(batch, device)
        with autocast(device):
            all_logits.append(classify(model, tokens, lengths, pooling, batching, features).float())
        all_labels.append(labels)
        order += indices
    model.train(was_training)
    back = torch.tensor(order).argsort()  # where each message of the data is now
    return torch.cat(all_logits).cpu()[back], torch.cat(all_labels).cpu()[back]
