"""Texts that scripts/generate.py continues: what a run was trained to read, and showing a text while it is written."""

import codecs
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tiktoken
    import torch


def as_trained(run: dict, prompts: list[str], tokenizer: "tiktoken.Encoding") -> tuple[list[str], list[list[int]]]:
    """What to show before each text, and the tokens that the run has learned to continue."""
    from data.alpaca import instruction_source
    from gpt2.tokenizer import END_OF_TEXT
    from gpt2.training.writing import prompt_tokens

    form = run.get("form")  # of data/text_pairs.py
    if form == "text":
        return prompts, [[END_OF_TEXT, *tokens] for tokens in tokenizer.encode_ordinary_batch(prompts)]
    sources = list(map(instruction_source, prompts)) if form == "instructions" else prompts
    return [""] * len(prompts), prompt_tokens(sources, tokenizer, run["separator"])


def print_as_written(
    prompt: str, new: "Iterator[torch.Tensor]", tokenizer: "tiktoken.Encoding", stops: list[str]
) -> None:
    """Show a text while it is written, token by token; what may be the beginning of a stop text waits."""
    from gpt2.tokenizer import END_OF_TEXT

    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a token may end within a character, such as an emoji
    print(prompt, end="", flush=True)
    waiting = ""
    for token in new:
        if token.item() == END_OF_TEXT:
            break
        waiting += decoder.decode(tokenizer.decode_single_token_bytes(int(token)))
        if before(waiting, stops) != waiting:
            break
        sure = len(waiting) - max((n for n in range(1, len(waiting) + 1) if may_begin(waiting[-n:], stops)), default=0)
        print(waiting[:sure], end="", flush=True)
        waiting = waiting[sure:]
    print(before(waiting + decoder.decode(b"", final=True), stops), flush=True)


def before(text: str, stops: list[str]) -> str:
    """The text up to the first stop text in it."""
    return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]


def may_begin(text: str, stops: list[str]) -> bool:
    """May a stop text begin with this?"""
    return any(stop.startswith(text) for stop in stops)
