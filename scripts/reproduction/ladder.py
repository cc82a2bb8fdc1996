"""``reproduce.py --golden``: the golden ladder, printed rung by rung (golden.py has the rungs)."""

from collections.abc import Iterator

from data import load_dataset
from gpt2.checkpoints.weights import load_gpt2
from gpt2.devices import choose_device, describe
from reproduction.golden import Rung, climb, order_rung, read_golden
from reproduction.running import Settings
from reproduction.runs import find_weights

STAND_IN = {"random": "random weights", "practice": "the practice model"}


def show(settings: Settings) -> int:
    """Print every rung; return how many miss. Raises InputError when GPT-2 124M's weights are missing or wrong."""
    device = choose_device(settings.device, "float32")
    print(f"Published values of GPT-2 124M, compared in float32 on {describe(device)}.\n", flush=True)
    golden, dataset = read_golden(), load_dataset("sms", assets=settings.assets)
    missed = count_misses(iter([order_rung(golden, dataset)]))
    if settings.weights != "pretrained":
        print(
            "weights, continuations, logits of the head, untuned accuracy and loss, training\n    do not apply to "
            f"{STAND_IN[settings.weights]}: these values are GPT-2 124M's own",
            flush=True,
        )
        return missed
    model = load_gpt2(find_weights("gpt2", settings.assets).source, settings.assets)
    print("weights\n    the sha256 of every tensor is the published one: ok\n", flush=True)
    return missed + count_misses(climb(golden, model, dataset, device))


def count_misses(rungs: Iterator[Rung]) -> int:
    """Print rungs as they come."""
    missed = 0
    for rung in rungs:
        print(f"{rung}\n", flush=True)
        missed += not rung.ok
    return missed
