"""Writing: tokens a second while the prompt is read (prefill) and while new ones are drawn (decode)."""

import time
from pathlib import Path

import torch
from tqdm import tqdm

from common.markdown import table
from gpt2 import GPT2, load_gpt2
from gpt2.generation import stream

CASES = (  # prompts at a time, key/value cache, new tokens: without a cache each costs a whole text
    (1, True, 64),
    (1, False, 16),
    (8, True, 64),
)
PROMPT = 128  # tokens
REPETITIONS = 3


def measure_generation(checkpoint: Path) -> dict:
    """{"cases": [prompts, cache, and tokens a second of prefill and decode]}, the best of the repetitions."""
    model = load_gpt2(checkpoint)
    cases = []
    for prompts, cache, new in tqdm(CASES, desc="generation", unit="case", disable=None):
        times = [generation_seconds(model, prompts, cache, new) for _ in range(REPETITIONS)]
        prefill, decode = min(t[0] for t in times), min(t[1] for t in times)
        speeds = {"prefill_tokens_s": prompts * PROMPT / prefill, "decode_tokens_s": prompts * (new - 1) / decode}
        cases.append({"prompts": prompts, "cache": cache, "prompt": PROMPT, "new": new} | speeds)
    return {"cases": cases}


def generation_seconds(model: GPT2, prompts: int, cache: bool, new: int) -> tuple[float, float]:
    """Seconds until the first new token, and from it to the last."""
    prompt = torch.randint(model.config.vocab_size, (prompts, PROMPT), generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    tokens = stream(model, prompt, new, use_cache=cache)
    next(tokens)
    first = time.perf_counter()
    for _ in tokens:
        pass
    return first - start, time.perf_counter() - first


def report(cases: list[dict]) -> str:
    """The section of the report."""
    columns = ["prompts at a time", "key/value cache", "prefill, tokens/s", "decode, tokens/s"]
    rows = []
    for case in cases:
        speeds = f"{case['prefill_tokens_s']:,.0f}", f"{case['decode_tokens_s']:,.1f}"
        rows.append([f"{case['prompts']}", "on" if case["cache"] else "off", *speeds])
    text = f"Prompts of {cases[0]['prompt']} tokens, greedy. Prefill is reading them, decode is writing on."
    return f"## Generation\n\n{text}\n\n{table(columns, rows)}"
