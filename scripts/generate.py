"""Let GPT-2 continue a text.

    python scripts/generate.py "The best thing about rivers is" --temperature 0.8 --top-k 40 --seed 1

Several prompts, of any lengths, are continued together, each as if it were alone. A line of dashes separates two texts.

    python scripts/generate.py "The best thing about rivers is" "Once upon a time, there"
    python scripts/generate.py --prompts prompts.txt                    # one a line

A run of finetune_text.py writes for a source as it was trained to, here by beam search.

    python scripts/generate.py --adapter runs/FOLDER --num-beams 4 "name[Blue Spice], eatType[pub]"

The zero-shot experiment: ask the untrained model for a verdict, and see that it continues instead of answering.

    python scripts/generate.py --zero-shot "You are a winner you have been specially selected to receive $1000 cash."
"""

import argparse
import sys
from pathlib import Path

from common import cli
from common.continuing import as_trained, before, print_as_written
from common.text import read_lines

SEPARATOR = "-" * 40  # a line between two texts
ZERO_SHOT = "Is the following text 'spam'? Answer with 'yes' or 'no': '{}'"  # Raschka's question, 2024


def main(argv: list[str]) -> None:
    args = parse(argv)
    prompts = read_lines(args.prompts) if args.prompts else [sys.stdin.read() if p == "-" else p for p in args.prompt]
    prompts = [ZERO_SHOT.format(prompt) for prompt in prompts] if args.zero_shot else prompts

    from gpt2.training.run_files import read_run

    run = read_run(Path(args.adapter), "writing") if args.adapter else {}
    args.model = run.get("model", args.model)
    checkpoint = cli.choose_model(args)

    import torch

    import peft
    from gpt2.beams import beam_search
    from gpt2.checkpoints.weights import load_gpt2
    from gpt2.devices import choose_device, fit_threads
    from gpt2.generation import Timings, check_options, generate, stream
    from gpt2.tokenizer import END_OF_TEXT, get_tokenizer

    device, tokenizer = choose_device(args.device), get_tokenizer()
    model = load_gpt2(checkpoint.source, args.assets).to(device)
    shown, encoded = prompts, tokenizer.encode_ordinary_batch(prompts)
    if run:
        peft.load(model, Path(args.adapter) / "adapter")
        shown, encoded = as_trained(run, prompts, tokenizer)
    fit_threads(model.config.n_embd)
    texts = [torch.tensor(text, dtype=torch.long, device=device) for text in encoded]
    tokens = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)  # (B, T)
    lengths = torch.tensor([len(text) for text in texts])
    drawing = {"temperature": args.temperature, "top_k": args.top_k, "top_p": args.top_p}
    check_options(model, tokens, args.max_new_tokens, **drawing, lengths=lengths)  # of all, before the first is written
    options = drawing | {"stop_token": END_OF_TEXT, "use_cache": not args.no_cache}
    options["vocabulary"] = tokenizer.n_vocab
    beams = {"num_beams": args.num_beams, "length_penalty": args.length_penalty, "vocabulary": tokenizer.n_vocab}
    beams["no_repeat_ngram_size"] = args.no_repeat_ngram_size
    timings = Timings()
    with peft.merged(model):
        if len(prompts) == 1 and not args.num_beams:
            new = timings.watch(
                stream(model, tokens, args.max_new_tokens, seed=args.seed, **options), tokens.numel(), device
            )
            print_as_written(shown[0], new, tokenizer, args.stop)
        else:
            for first in range(0, len(prompts), args.batch_size):
                batch = slice(first, first + args.batch_size)
                some = (model, tokens[batch], args.max_new_tokens)
                if args.num_beams:
                    written = beam_search(*some, lengths=lengths[batch], **beams)
                else:
                    seed = None if args.seed is None else args.seed + first
                    written = generate(*some, lengths[batch], timings=timings, seed=seed, **options)
                for i, row in enumerate(written, start=first):
                    new = row[lengths[i] :]
                    text = before(tokenizer.decode(new[new != END_OF_TEXT].tolist()), args.stop)
                    print(f"{SEPARATOR}\n" if i else "", end="")
                    print(shown[i] + text, flush=True)
    if not args.num_beams:
        print(f"\n({timings})", file=sys.stderr)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    add = parser.add_argument
    add("prompt", nargs="*", help="texts to continue; - reads one text from standard input")
    add("--prompts", metavar="FILE", help="text file (UTF-8) with one prompt a line")
    add(
        "--adapter",
        metavar="RUN",
        help="folder of a run of finetune_text.py: prompts are sources or instructions, as it was trained on; of a run "
        "on a plain text, beginnings",
    )
    add("--batch-size", type=cli.positive_int, default=32, metavar="N", help="prompts at once (default: %(default)s)")
    cli.add_model_arguments(parser)
    add("--zero-shot", action="store_true", help="ask: " + ZERO_SHOT.format("PROMPT"))
    add("--max-new-tokens", type=cli.positive_int, default=50, metavar="N", help="default: 50")
    add("--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given several times")
    add("--temperature", type=float, default=0.0, help="0 takes the likeliest token each time (default)")
    add("--top-k", type=cli.positive_int, metavar="K", help="draw among the K likeliest tokens")
    add("--top-p", type=float, metavar="P", help="draw among the likeliest with total probability P")
    add("--seed", type=cli.seed, help="same seed and prompts, same texts")
    add("--num-beams", type=cli.positive_int, metavar="K", help="beam search that keeps K texts, instead of drawing")
    add("--length-penalty", type=float, default=1.0, metavar="P", help="of beam search; larger: longer texts")
    add("--no-repeat-ngram-size", type=int, default=0, metavar="N", help="of beam search: no N tokens twice")
    add("--no-cache", action="store_true", help="recompute the text for every token: slower")
    args = parser.parse_intermixed_args(argv)  # texts may stand behind options
    if bool(args.prompt) == bool(args.prompts):
        parser.error("give a prompt or several, or else --prompts FILE")
    parser.refuse_unused(args, args.temperature, "unless --temperature is above 0", "top_k", "top_p", "seed")
    parser.refuse_unused(args, args.num_beams, "without --num-beams", "length_penalty", "no_repeat_ngram_size")
    parser.refuse_unused(args, not args.num_beams, "with --num-beams", "temperature", "no_cache")
    parser.refuse_unused(args, not args.adapter, "with --adapter", "model", "zero_shot")
    return args


if __name__ == "__main__":
    cli.run(main)
