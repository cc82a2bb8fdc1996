"""The benchmark's arm of transformers and Hugging Face's peft, at their best common settings; a worker, see
worker.py:  python -m benchmarking.hugging_face job.json

Length-grouped batches padded to their longest message, attention by PyTorch's fused kernel (SDPA), fused AdamW, no
key/value cache, no dropout (ours has none), gradients clipped as the library's Trainer does.
"""

from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import GPT2ForSequenceClassification, PreTrainedModel

import peft  # the library's: ours is not on the path of this process
from benchmarking.worker import Arm, Batch, serve_arm

PADDING = 50256


class HuggingFace(Arm):
    """GPT2ForSequenceClassification with a method of the library, in length-grouped padded batches."""

    clip = 1.0
    task_type = "SEQ_CLS"  # as peft calls it

    def __init__(self, job: dict):
        if not hasattr(peft, "LoraConfig"):
            raise ImportError(f"`import peft` finds {peft.__file__}, which is not Hugging Face's; see PYTHONPATH")
        transformers.logging.set_verbosity_error()
        self.model = put_in(self.load(job), job["method"], job["lora"], self.task_type).train()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.dim() >= 2], "weight_decay": 0.01},
            {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=job["lr"], fused=True)

    def load(self, job: dict) -> nn.Module:
        """The model, before a method is put in."""
        model = pretrained(GPT2ForSequenceClassification, job, num_labels=job["classes"], pad_token_id=PADDING)
        torch.manual_seed(job["seed"])
        model.score = nn.Linear(model.config.n_embd, job["classes"])  # the numbers that our head starts with
        return model

    def loss(self, batch: Batch) -> Tensor:
        messages, labels = batch
        tokens, mask = pad(messages)
        return self.model(input_ids=tokens, attention_mask=mask, labels=torch.tensor(labels)).loss

    def about(self) -> dict:
        return {
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "peft_layers": sum(isinstance(module, peft.tuners.lora.LoraLayer) for module in self.model.modules()),
        }


def pretrained(kind: type[PreTrainedModel], job: dict, **options: Any) -> nn.Module:
    """The job's model, in float32 and without dropout."""
    options |= {"attn_implementation": "sdpa", "use_cache": False}
    options |= dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0)
    return kind.from_pretrained(job["model"], **options).float()


def pad(messages: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Tokens (B, T), padded on the right to the longest message, and the mask that says which are real."""
    tokens = np.full((len(messages), max(map(len, messages))), PADDING, dtype=np.int64)
    mask = np.zeros_like(tokens)
    for i, message in enumerate(messages):
        tokens[i, : len(message)] = message
        mask[i, : len(message)] = 1
    return torch.from_numpy(tokens), torch.from_numpy(mask)


def put_in(model: nn.Module, method: str, lora: dict, task_type: str) -> nn.Module:
    """The library's way to each method. Its LoRA trains the new head fully; ours gives the head LoRA as well."""
    if method == "lora":
        config = peft.LoraConfig(
            task_type=task_type,
            r=lora["rank"],
            lora_alpha=lora["alpha"],
            target_modules=["c_attn", "c_proj", "c_fc"],
            fan_in_fan_out=True,
        )
        return peft.get_peft_model(model, config)
    if method == "full":
        return model.requires_grad_(True)
    trained = {
        "head": [model.score],
        "selective": [model.transformer.h[-1], model.transformer.ln_f, model.score],
    }[method]
    model.requires_grad_(False)
    for module in trained:
        module.requires_grad_(True)
    return model


if __name__ == "__main__":
    serve_arm(HuggingFace)
