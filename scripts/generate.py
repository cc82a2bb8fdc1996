"""Let GPT-2 continue a text.

    python scripts/generate.py "The best thing about rivers is" --temperature 0.8 --top-k 40 --seed 1

The zero-shot experiment: ask the untrained model for a verdict, and see that it continues instead of answering.

    python scripts/generate.py --zero-shot "You are a winner you have been specially selected to receive $1000 cash."
"""

import sys
import time

import _cli

ZERO_SHOT = "Is the following text 'spam'? Answer with 'yes' or 'no': '{}'"  # the walk-through's question


def main(argv: list[str]) -> None:
    parser = _cli.Parser(description=__doc__)
    parser.add_argument("prompt", help="text to continue; - reads standard input")
    _cli.add_model_arguments(parser)
    parser.add_argument("--zero-shot", action="store_true", help="ask: " + ZERO_SHOT.format("PROMPT"))
    parser.add_argument("--max-new-tokens", type=_cli.positive_int, default=50, metavar="N")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0 takes the likeliest token each time (default)"
    )
    parser.add_argument("--top-k", type=_cli.positive_int, metavar="K", help="draw among the K likeliest tokens")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw among the likeliest with total probability P")
    parser.add_argument("--seed", type=int, help="same seed, same text")
    parser.add_argument("--no-cache", action="store_true", help="recompute the whole text for every token (slow, same)")
    args = parser.parse_args(argv)
    checkpoint = _cli.choose_model(args)
    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    prompt = ZERO_SHOT.format(prompt) if args.zero_shot else prompt

    import torch

    from gpt2.devices import choose_device, fit_threads
    from gpt2.generation import stream
    from gpt2.tokenizer import END_OF_TEXT, get_tokenizer
    from gpt2.weights import load_gpt2

    device, tokenizer = choose_device(args.device), get_tokenizer()
    model = load_gpt2(checkpoint.source, args.assets).to(device)
    fit_threads(model.config.n_embd)
    tokens = torch.tensor([tokenizer.encode_ordinary(prompt)], dtype=torch.long, device=device)
    new = stream(
        model,
        tokens,
        args.max_new_tokens,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        stop_token=END_OF_TEXT,
        seed=args.seed,
        use_cache=not args.no_cache,
    )
    start, count, pending = time.perf_counter(), 0, b""
    for token in new:
        if not count:
            print(prompt, end="", flush=True)
        count += 1
        if token.item() == END_OF_TEXT:
            break
        pending += tokenizer.decode_single_token_bytes(token.item())
        try:  # a token may end in the middle of a character, such as an emoji of four bytes
            print(pending.decode("utf-8"), end="", flush=True)
            pending = b""
        except UnicodeDecodeError:
            continue
    print(pending.decode("utf-8", errors="replace"))
    seconds = time.perf_counter() - start
    print(f"\n({count} tokens in {seconds:.2f} s, {count / seconds:,.0f} a second)", file=sys.stderr)


if __name__ == "__main__":
    _cli.run(main)
