"""The other side of test_arithmetic_parity.py: what Hugging Face's peft computes from updates and from intruders.

Usage: ``python hf_arithmetic_side.py jobs.json``, in a folder outside the repository. The file holds a list of jobs:

    {"name": …, "function": "ties", "density": 0.5, "seed": 3}      a function of peft.utils.merge_utils on the updates
                                                                   in NAME.in.safetensors: "0", "1", …, and "weights"
    {"name": …, "function": "intruders", "top": 4, "epsilon": 0.5, "keep": 0.25, "rank": 2}
                                                                   "W", "A" and "B" of one nn.Linear with LoRA

Each writes NAME.safetensors: "result", the combined update, or "delta" (out, in), the update without the intruders, and
"found", how many of them there were.
"""

import re

import torch
from job_runner import run_jobs
from safetensors.torch import load_file, save_file

import peft  # the library's: this script runs where ours is not on the path
from peft.utils import merge_utils


def combined(job: dict, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    weights = given.pop("weights")
    updates = [given[str(i)] for i in range(len(given))]
    torch.manual_seed(job["seed"])
    more = {"density": job["density"]} if "density" in job else {}
    return {"result": getattr(merge_utils, job["function"])(updates, weights, **more)}


def without_intruders(job: dict, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    from peft.tuners.lora.intruders import reduce_intruder_dimension  # older versions lack it

    model = torch.nn.Sequential(torch.nn.Linear(*reversed(given["W"].shape), bias=False))
    model[0].weight.data.copy_(given["W"])
    config = peft.LoraConfig(r=job["rank"], lora_alpha=job["rank"], target_modules=["0"])
    wrapped = peft.get_peft_model(model, config)
    layer = wrapped.base_model.model[0]
    layer.lora_A["default"].weight.data.copy_(given["A"])
    layer.lora_B["default"].weight.data.copy_(given["B"])
    said = []
    reduce_intruder_dimension(
        wrapped,
        top_k=job["top"],
        threshold_epsilon=job["epsilon"],
        mitigation_lambda=job["keep"],
        logging_sink=said.append,
    )
    found = [int(number) for number in re.findall(r"Intruders: (\d+)", "\n".join(said))]
    return {"delta": layer.get_delta_weight("intruder_reduced").detach(), "found": torch.tensor(sum(found))}


def run(job: dict) -> None:
    given = load_file(f"{job['name']}.in.safetensors")
    answer = without_intruders if job["function"] == "intruders" else combined
    result = {key: tensor.contiguous() for key, tensor in answer(job, given).items()}
    save_file(result, f"{job['name']}.safetensors")


if __name__ == "__main__":
    run_jobs(run)
