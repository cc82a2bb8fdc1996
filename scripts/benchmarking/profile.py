"""Where a training step's time goes: PyTorch's profiler, its operations put into a few classes."""

import math
from pathlib import Path

from torch.profiler import profile
from tqdm import tqdm

from benchmarking.arms import LORA, Ours
from benchmarking.methods import Served, job_of
from benchmarking.worker import read_batches
from common.markdown import DASH, table
from gpt2 import GPT2Config

STEPS = 12  # evenly spread over the epoch
LARGE = "large matrix products"
NAMES = {  # the operation's name holds -> class
    "scaled_dot_product": "attention",
    "gelu": "GELU",
    "layer_norm": "norms",
    "adam": "optimizer",
    "cat": "putting messages end to end",
    "copy_": "copies",
    "split": "putting messages end to end",
}


def measure_profile(method: str, served: Served, checkpoint: Path, config: GPT2Config) -> dict:
    """Ours on evenly spread batches: self CPU seconds by class, and the speed of the large matrix products."""
    job = job_of(method, served, checkpoint, config)
    arm = Ours(job | {"arm": "ours"})
    arm.start()
    batches = read_batches(job, arm.order)
    chosen = [batches[i * len(batches) // STEPS] for i in range(STEPS)]
    for batch in tqdm(chosen, desc="before the profile", unit="step", leave=False, disable=None):
        arm.step(batch)  # threads start, memory is allocated, and frozen blocks compute what is kept of them
    with profile(record_shapes=True) as recorded:
        for batch in tqdm(chosen, desc="profile", unit="step", leave=False, disable=None):
            arm.step(batch)
    seconds, operations = {}, 0
    for event in recorded.key_averages(group_by_input_shape=True):
        kind = classify_event(event.key, event.input_shapes)
        seconds[kind] = seconds.get(kind, 0.0) + event.self_cpu_time_total / 1e6
        if kind == LARGE:
            operations += event.count * product_operations(event.key, event.input_shapes)
    return {
        "steps": STEPS,
        "tokens": sum(len(message) for batch in chosen for message in batch[0]),
        "seconds": seconds,
        "product_flops_per_second": operations / seconds[LARGE] if LARGE in seconds else None,
    }


def classify_event(name: str, shapes: list) -> str:
    """Matrix products with a side of at most 8, such as LoRA's rank or a batch's last rows, are a class apart."""
    if name in ("aten::mm", "aten::addmm", "aten::addmm_"):
        sides = [side for shape in matrices(name, shapes) for side in shape]
        return "thin matrix products" if min(sides) <= LORA["rank"] else LARGE
    return next((kind for part, kind in NAMES.items() if part in name), "everything else")


def matrices(name: str, shapes: list) -> list:
    """The two matrices that are multiplied: addmm's come after the one to which they are added."""
    return shapes[:2] if name == "aten::mm" else shapes[1:3]


def product_operations(name: str, shapes: list) -> int:
    """Operations of one matrix product: a multiplication and an addition for each of rows × inner × columns."""
    (rows, inner), (_, columns) = matrices(name, shapes)
    return 2 * math.prod((rows, inner, columns))


def report(profiles: dict[str, dict]) -> str:
    """The section of the report."""
    kinds = {kind: 0.0 for measured in profiles.values() for kind in measured["seconds"]}
    for kind in kinds:
        kinds[kind] = sum(measured["seconds"].get(kind, 0.0) for measured in profiles.values())
    rows = []
    for kind in sorted(kinds, key=lambda kind: kinds[kind], reverse=True):
        shares = [m["seconds"].get(kind, 0.0) / sum(m["seconds"].values()) for m in profiles.values()]
        rows.append([kind, *(f"{share:.1%}" for share in shares)])
    speeds = [m["product_flops_per_second"] for m in profiles.values()]
    rows.append([f"speed of the {LARGE}, GFLOP/s", *(f"{s / 1e9:,.0f}" if s else DASH for s in speeds)])
    steps = next(iter(profiles.values()))["steps"]
    text = (
        f"Share of the processor's time in each kind of operation, in {steps} steps of ours spread over the epoch, by "
        "PyTorch's profiler. Thin products have a side of at most 8: LoRA's rank, or the last rows of a batch. Where "
        "blocks are frozen, these are the steps of later epochs."
    )
    return f"## Where the time goes\n\n{text}\n\n{table(['operation', *(f'`{m}`' for m in profiles)], rows)}"
