"""The other side of test_travel_parity.py: Hugging Face's peft and transformers, in a process of their own.

Usage: ``python hf_travel_side.py jobs.json``, in a folder outside the repository. The file holds a list of jobs:

    {"name": …, "job": "load", "checkpoint": folder, "adapter": folder, "classes": 3 or null, "pad": 96,
     "again": folder}                                       optional: where the library saves what it has loaded
    {"name": …, "job": "create", …, "config_class": "LoraConfig", "config": {…}}     writes ``adapter``
    {"name": …, "job": "combine", …, "adapters": [folder, folder], "weights": [0.7, 0.3],
     "more": {"combination_type": "ties_svd", "density": 0.4}}                         optional: "cat" without
    {"name": …, "job": "exported", "folder": folder, "classes": 3 or null}

Each writes name.safetensors: "logits", of the messages in messages.safetensors ("tokens" (B, T), padded on the right,
and "lengths" (B,)): (B, classes), or of a language model (T, V) of the first message. Messages run one at a time,
because with a soft prompt the library cannot see where padding starts.
"""

import warnings

import torch
import transformers
from job_runner import run_jobs
from safetensors.torch import load_file, save_file

import peft  # the library's: this script runs where ours is not on the path


def base_model(job: dict) -> torch.nn.Module:
    if job["classes"] is None:
        return transformers.GPT2LMHeadModel.from_pretrained(job["checkpoint"])
    return transformers.GPT2ForSequenceClassification.from_pretrained(
        job["checkpoint"], num_labels=job["classes"], pad_token_id=job["pad"]
    )


def logits_of(model: torch.nn.Module, job: dict) -> torch.Tensor:
    messages = load_file("messages.safetensors")
    rows = [row[None, :n] for row, n in zip(messages["tokens"], messages["lengths"].tolist(), strict=True)]
    with torch.no_grad():
        if job["classes"] is None:
            return model.eval()(input_ids=rows[0]).logits[0, -rows[0].size(1) :]  # less a prompt's rows
        return torch.cat([model.eval()(input_ids=row).logits for row in rows])


def create(job: dict) -> torch.Tensor:
    torch.manual_seed(0)
    config = getattr(peft, job["config_class"])(
        task_type="CAUSAL_LM" if job["classes"] is None else "SEQ_CLS", **job["config"]
    )
    model = peft.get_peft_model(base_model(job), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(job["adapter"])
    model = peft.PeftModel.from_pretrained(base_model(job), job["adapter"])  # without encoders of prompts, as ours
    return logits_of(model, job)


def combine(job: dict) -> torch.Tensor:
    model = peft.PeftModel.from_pretrained(base_model(job), job["adapters"][0], adapter_name="a0")
    model.load_adapter(job["adapters"][1], adapter_name="a1")
    model.add_weighted_adapter(["a0", "a1"], job["weights"], "both", **job.get("more", {"combination_type": "cat"}))
    model.set_adapter("both")
    return logits_of(model, job)


def exported(job: dict) -> torch.Tensor:
    kind = "AutoModelForCausalLM" if job["classes"] is None else "AutoModelForSequenceClassification"
    return logits_of(getattr(transformers, kind).from_pretrained(job["folder"]), job)


def run(job: dict) -> None:
    if job["job"] == "load":
        model = peft.PeftModel.from_pretrained(base_model(job), job["adapter"])
        if "again" in job:  # first: a library may load and save what it then cannot compute
            model.save_pretrained(job["again"])
        logits = logits_of(model, job)
    else:
        logits = {"create": create, "combine": combine, "exported": exported}[job["job"]](job)
    save_file({"logits": logits.contiguous()}, f"{job['name']}.safetensors")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    run_jobs(run)
