"""The other side of the adapter tests: the ``adapters`` library over transformers' GPT-2, in an environment of its own.

It pins an older transformers, so it never shares a process with anything else. Usage: ``python adapters_side.py
jobs.json``, in a folder outside the repository. The file holds a list of jobs, as for hf_peft_side.py:

    {"name": "serial", "checkpoint": folder, "tokens": file, "tensors": file, "out": file,
     "parts": [["ParBnConfig", {"reduction_factor": 4}], ...],     more than one: a ConfigUnion
     "first_position": 0}                                          where the text starts

tensors   the library's own parameter name -> value: every parameter that it would train, and nothing else
out       written: "logits" (B, T, V); versions stand in the metadata
"""

import adapters
import torch
import transformers
from job_runner import run_jobs
from safetensors.torch import load_file, save_file


def build(job: dict) -> torch.nn.Module:
    """transformers' GPT-2 with the library's method, filled with the job's tensors."""
    # Eager attention, because 1.3.0 passes prefixes to PyTorch's fused kernel (the default) with is_causal=True, which
    # counts from the first key: the text's queries then see the wrong keys (logits differ by more than 1).
    model = transformers.GPT2LMHeadModel.from_pretrained(job["checkpoint"], attn_implementation="eager")
    parts = [getattr(adapters, name)(**options) for name, options in job["parts"]]
    adapters.init(model)
    model.add_adapter("a", config=parts[0] if len(parts) == 1 else adapters.ConfigUnion(*parts))
    model.train_adapter("a")  # freezes the rest, and makes the adapter active
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    given = load_file(job["tensors"])
    if set(given) != set(trained):
        raise ValueError(f"parameters differ; expected {sorted(trained)}, given {sorted(given)}")
    for name, parameter in trained.items():
        if parameter.shape != given[name].shape:
            raise ValueError(f"{name} is {tuple(parameter.shape)}, given {tuple(given[name].shape)}")
        parameter.data.copy_(given[name])
    return model.eval()


@torch.no_grad()
def run(job: dict) -> torch.Tensor:
    model, tokens = build(job), load_file(job["tokens"])["tokens"]
    first = job["first_position"]
    positions = torch.arange(first, first + tokens.size(1)).expand_as(tokens)
    return model(input_ids=tokens, position_ids=positions).logits.contiguous()


def answer(job: dict) -> None:
    versions = {module.__name__: module.__version__ for module in (adapters, transformers, torch)}
    save_file({"logits": run(job)}, job["out"], metadata=versions)


if __name__ == "__main__":
    run_jobs(answer)
