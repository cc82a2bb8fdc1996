"""The other side of the parity tests: Hugging Face's peft over transformers' GPT-2, in a process of its own.

Our package is called peft too, so the two never meet in one process. Usage: ``python hf_peft_side.py jobs.json``, in
a folder outside the repository. The file holds a list of jobs:

    {"name": "lora", "checkpoint": folder, "tokens": file, "tensors": file, "out": file,
     "config_class": "LoraConfig", "config": {"r": 4, ...},
     "step": {"lr": 0.01, "weight_decay": 0.1}}           step is optional

checkpoint   GPT-2 in the Hugging Face layout
tokens       safetensors file with "tokens" (B, T)
tensors      safetensors file: the library's own parameter name -> value. Every parameter that the library would
             train must be there and nothing else, so that no comparison passes by leaving something out
out          written: "logits" (B, T, V), one row per real token. With a step also the language-model "loss" before it
             and, for every trained parameter, "gradient of NAME" and, after one AdamW step, its value. Versions stand
             in the metadata.
"""

import torch
import transformers
from job_runner import run_jobs
from safetensors.torch import load_file, save_file

import peft  # the library's: this script runs where ours is not on the path


def build(job: dict) -> torch.nn.Module:
    """transformers' GPT-2 with the library's method, filled with the job's tensors."""
    torch.manual_seed(0)
    base = transformers.GPT2LMHeadModel.from_pretrained(job["checkpoint"])
    config = getattr(peft, job["config_class"])(task_type="CAUSAL_LM", **job["config"])
    model = peft.get_peft_model(base, config).eval()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    given = load_file(job["tensors"])
    if set(given) != set(trained):
        raise ValueError(f"parameters differ; expected {sorted(trained)}, given {sorted(given)}")
    for name, parameter in trained.items():
        if parameter.shape != given[name].shape:
            raise ValueError(f"{name} is {tuple(parameter.shape)}, given {tuple(given[name].shape)}")
        parameter.data.copy_(given[name])
    return model


def run(job: dict) -> dict[str, torch.Tensor]:
    model, tokens = build(job), load_file(job["tokens"])["tokens"]
    with torch.no_grad():
        out = {"logits": model(input_ids=tokens).logits[:, -tokens.size(1) :].contiguous()}  # less a prompt's rows
    if "step" in job:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(trained.values(), **job["step"])
        out["loss"] = model(input_ids=tokens, labels=tokens).loss
        out["loss"].backward()
        optimizer.step()
        out |= trained | {f"gradient of {name}": parameter.grad for name, parameter in trained.items()}
    return {name: tensor.detach().clone().contiguous() for name, tensor in out.items()}


def answer(job: dict) -> None:
    versions = {module.__name__: module.__version__ for module in (peft, transformers, torch)}
    save_file(run(job), job["out"], metadata=versions)


if __name__ == "__main__":
    run_jobs(answer)
