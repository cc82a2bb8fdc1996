"""The writing benchmark's arm of transformers and Hugging Face's peft; a worker, see worker.py and writing.py.

python -m benchmarking.hugging_face_writing job.json
"""

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from benchmarking.hugging_face import HuggingFace, pad, pretrained
from benchmarking.worker import Batch, serve_arm

IGNORED = -100  # labels of what is not learned


class HuggingFaceWriter(HuggingFace):
    """GPT2LMHeadModel with its own loss, in length-grouped padded batches."""

    task_type = "CAUSAL_LM"

    def load(self, job: dict) -> nn.Module:
        return pretrained(GPT2LMHeadModel, job)

    def loss(self, batch: Batch) -> Tensor:
        texts, starts = batch
        tokens, mask = pad(texts)
        labels = np.full(tokens.shape, IGNORED, dtype=np.int64)
        for row, text, start in zip(labels, texts, starts, strict=True):
            row[start : len(text)] = text[start:]  # the model shifts them by one itself
        return self.model(input_ids=tokens, attention_mask=mask, labels=torch.from_numpy(labels)).loss


if __name__ == "__main__":
    serve_arm(HuggingFaceWriter)
