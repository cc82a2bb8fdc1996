"""Where a training step's time goes: PyTorch's profiler, its operations put into a few classes."""

import math

import torch
from _benchmark_arms import LORA, Ours
from _benchmark_worker import read_batches
from torch.profiler import profile

SKIPPED = 2  # steps before the profile: threads start, memory is allocated
NAMES = {  # the operation's name holds -> class
    "scaled_dot_product": "attention",
    "gelu": "GELU",
    "layer_norm": "norms",
    "adam": "optimizer",
    "cat": "putting messages end to end",
    "copy_": "copies",
    "split": "putting messages end to end",
}


def measure_profile(job: dict, steps: int) -> dict:
    """Ours on evenly spread batches: self CPU seconds by class, and the speed of the large matrix products."""
    arm = Ours(job | {"arm": "ours"})
    arm.start()
    batches = read_batches(job, arm.order)
    chosen = [batches[i * len(batches) // (steps + SKIPPED)] for i in range(steps + SKIPPED)]
    for batch in chosen[:SKIPPED]:
        arm.step(batch)
    with profile(record_shapes=True) as recorded:
        for batch in chosen[SKIPPED:]:
            arm.step(batch)
    seconds, operations = {}, 0
    for event in recorded.key_averages(group_by_input_shape=True):
        kind = classify_event(event.key, event.input_shapes)
        seconds[kind] = seconds.get(kind, 0.0) + event.self_cpu_time_total / 1e6
        if kind == "large matrix products":
            operations += event.count * product_operations(event.key, event.input_shapes)
    tokens = sum(len(message) for batch in chosen[SKIPPED:] for message in batch[0])
    return {
        "steps": steps,
        "tokens": tokens,
        "seconds": seconds,
        "product_flops_per_second": operations / seconds["large matrix products"],
        "threads": torch.get_num_threads(),
    }


def classify_event(name: str, shapes: list) -> str:
    """Matrix products with a side as narrow as LoRA's rank are told from the others."""
    if name in ("aten::mm", "aten::addmm", "aten::addmm_"):
        sides = [side for shape in matrices(name, shapes) for side in shape]
        return "thin matrix products (LoRA's A and B)" if min(sides) <= LORA["rank"] else "large matrix products"
    return next((kind for part, kind in NAMES.items() if part in name), "everything else")


def matrices(name: str, shapes: list) -> list:
    """The two matrices that are multiplied: addmm's come after the one to which they are added."""
    return shapes[:2] if name == "aten::mm" else shapes[1:3]


def product_operations(name: str, shapes: list) -> int:
    (rows, inner), (_, columns) = matrices(name, shapes)
    return 2 * math.prod((rows, inner, columns))
