"""Let GPT-2 continue a text.

    python scripts/generate.py "The best thing about rivers is" --temperature 0.8 --top-k 40 --seed 1

Several prompts, of any lengths, are continued together, each as if it were alone. A line of dashes separates two texts.

    python scripts/generate.py "The best thing about rivers is" "Once upon a time, there"
    python scripts/generate.py --prompts prompts.txt                    # one a line

The zero-shot experiment: ask the untrained model for a verdict, and see that it continues instead of answering.

    python scripts/generate.py --zero-shot "You are a winner you have been specially selected to receive $1000 cash."
"""

import codecs
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from common import cli
from common.text import read_lines

if TYPE_CHECKING:
    import tiktoken
    import torch

SEPARATOR = "-" * 40  # a line between two texts
ZERO_SHOT = "Is the following text 'spam'? Answer with 'yes' or 'no': '{}'"  # Raschka's question, 2024


def main(argv: list[str]) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("prompt", nargs="*", help="texts to continue; - reads one text from standard input")
    parser.add_argument("--prompts", metavar="FILE", help="text file (UTF-8) with one prompt a line")
    parser.add_argument(
        "--batch-size", type=cli.positive_int, default=32, metavar="N", help="prompts at once (default: %(default)s)"
    )
    cli.add_model_arguments(parser)
    parser.add_argument("--zero-shot", action="store_true", help="ask: " + ZERO_SHOT.format("PROMPT"))
    parser.add_argument("--max-new-tokens", type=cli.positive_int, default=50, metavar="N", help="default: 50")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0 takes the likeliest token each time (default)"
    )
    parser.add_argument("--top-k", type=cli.positive_int, metavar="K", help="draw among the K likeliest tokens")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw among the likeliest with total probability P")
    parser.add_argument("--seed", type=cli.seed, help="same seed and prompts, same texts")
    parser.add_argument("--no-cache", action="store_true", help="recompute the text for every token: slower")
    args = parser.parse_intermixed_args(argv)  # texts may stand behind options
    if bool(args.prompt) == bool(args.prompts):
        parser.error("give a prompt or several, or else --prompts FILE")
    parser.refuse_unused(args, args.temperature, "unless --temperature is above 0", "top_k", "top_p", "seed")
    prompts = read_lines(args.prompts) if args.prompts else [sys.stdin.read() if p == "-" else p for p in args.prompt]
    prompts = [ZERO_SHOT.format(prompt) for prompt in prompts] if args.zero_shot else prompts
    checkpoint = cli.choose_model(args)

    import torch

    from gpt2.checkpoints.weights import load_gpt2
    from gpt2.devices import choose_device, fit_threads
    from gpt2.generation import Timings, check_options, generate, stream
    from gpt2.tokenizer import END_OF_TEXT, get_tokenizer

    device, tokenizer = choose_device(args.device), get_tokenizer()
    model = load_gpt2(checkpoint.source, args.assets).to(device)
    fit_threads(model.config.n_embd)
    texts = [torch.tensor(tokenizer.encode_ordinary(prompt), dtype=torch.long, device=device) for prompt in prompts]
    tokens = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)  # (B, T)
    lengths = torch.tensor([len(text) for text in texts])
    drawing = {"temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p}
    check_options(model, tokens, args.max_new_tokens, **drawing, lengths=lengths)  # of all, before the first is written
    options = drawing | {"stop_token": END_OF_TEXT, "use_cache": not args.no_cache}
    options["vocabulary"] = tokenizer.n_vocab
    timings = Timings()
    if len(prompts) == 1:
        new = stream(model, tokens, args.max_new_tokens, seed=args.seed, **options)
        print_as_written(prompts[0], timings.watch(new, tokens.numel(), device), tokenizer)
    else:
        for first in range(0, len(prompts), args.batch_size):
            batch = slice(first, first + args.batch_size)
            seed = None if args.seed is None else args.seed + first
            written = generate(
                model, tokens[batch], args.max_new_tokens, lengths[batch], timings=timings, seed=seed, **options
            )
            for i, row in enumerate(written, start=first):
                new = row[lengths[i] :]
                print(f"{SEPARATOR}\n" if i else "", end="")
                print(prompts[i] + tokenizer.decode(new[new != END_OF_TEXT].tolist()), flush=True)
    print(f"\n({timings})", file=sys.stderr)


def print_as_written(prompt: str, new: "Iterator[torch.Tensor]", tokenizer: "tiktoken.Encoding") -> None:
    """Show a text while it is written, token by token."""
    from gpt2.tokenizer import END_OF_TEXT

    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a token may end within a character, such as an emoji
    for i, token in enumerate(new):
        if i == 0:
            print(prompt, end="", flush=True)
        if token.item() == END_OF_TEXT:
            break
        print(decoder.decode(tokenizer.decode_single_token_bytes(int(token))), end="", flush=True)
    print(decoder.decode(b"", final=True))


if __name__ == "__main__":
    cli.run(main)
