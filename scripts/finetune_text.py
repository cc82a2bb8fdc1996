"""Teach GPT-2 to write: fine-tune it on pairs of a source and a target, by any method of peft/.

    python scripts/finetune_text.py --method lora                                 # bundled practice pairs
    python scripts/finetune_text.py --method lora --data e2e --max-pairs 4000     # facts about restaurants -> sentences
    python scripts/finetune_text.py --data mine.csv --source-column question --target-column answer
    python scripts/finetune_text.py --data instructions.json                      # instruction, input, output (Alpaca)
    python scripts/finetune_text.py --data plain.txt                              # no sources: more reading

The loss is that of the target's tokens. At the end the model writes a text for each test source by beam search; the
report sets BLEU and other measures beside those of the model before training and of the nearest training source.
Leaves a folder in runs/ with metrics.json, generated.csv, history.csv, curves.png and the adapter; try it with
    python scripts/generate.py --adapter runs/FOLDER "city[Ostby], sky[rain], wind[strong], high[12]"
"""

import argparse
import contextlib
import dataclasses
import functools
import time
from typing import TYPE_CHECKING

from common import cli
from common.method_options import add_method_options, method_list, method_options
from common.pair_arguments import add_amount_of_writing, add_pair_arguments
from common.recipes import add_training_arguments, lr_source, make_recipe

if TYPE_CHECKING:
    import torch

    from gpt2.checkpoints.hub import Checkpoint


def main(argv: list[str]) -> None:
    started = time.perf_counter()
    args, options = parse(argv)
    checkpoint = cli.choose_model(args)

    from common.processes import one_speaks

    with one_speaks(args.device) as (device, stack):
        fine_tune(args, options, checkpoint, device, started, stack)


def fine_tune(
    args: argparse.Namespace,
    options: dict,
    checkpoint: "Checkpoint",
    device: "torch.device",
    started: float,
    stack: contextlib.ExitStack,
) -> None:
    """Prepare everything that a run needs, and run it. ``stack`` keeps the lock of the run's folder."""
    import torch

    import peft
    from common.experiment import describe_run, say_what_to_expect
    from common.processes import open_folder
    from common.writing import Writing, WritingExperiment, describe_pairs, evenly_spaced, make_pair_batches
    from data.text_pairs import load_pairs
    from gpt2.checkpoints.weights import load_gpt2
    from gpt2.devices import describe, fit_threads
    from gpt2.tokenizer import get_tokenizer
    from gpt2.training.batching import check_vocabulary
    from gpt2.training.distributed import main_first
    from gpt2.training.runs import versions
    from gpt2.training.writing import check_room, prompt_tokens

    with main_first():
        columns = (args.source_column, args.target_column)
        pairs = load_pairs(args.data, *columns, assets=args.assets, encoding=args.encoding)
        model = load_gpt2(checkpoint.source, args.assets)
    if args.max_pairs:
        pairs = dataclasses.replace(pairs, train=pairs.train[: args.max_pairs])
    check_vocabulary(model.config.vocab_size, get_tokenizer())
    fit_threads(model.config.n_embd)
    total = sum(p.numel() for p in model.parameters())
    recipe = make_recipe(args, model.config.n_embd, writing=True)
    sources = [source for source in pairs.references("test") if source]
    sources = [sources[i] for i in evenly_spaced(len(sources), args.test_sources)]
    writing = Writing(args.max_new_tokens, args.num_beams, args.length_penalty, args.no_repeat_ngram_size)

    torch.manual_seed(args.seed)
    peft.apply(model, args.method, **options)
    room = model.config.n_positions - model.virtual_positions()
    check_room(sources, prompt_tokens(sources, get_tokenizer(), args.separator), room)
    room = min(args.max_length or room, room)
    how = (args.batch_size, args.separator, args.include_source, args.evaluation_pairs)
    batches, cut = make_pair_batches(pairs, room, *how)
    config = {
        "task": "writing",
        "method": args.method,
        "options": model.peft.options,
        "model": checkpoint.source,
        "model_asked_for": args.model,
        "data": args.data,
        "source_column": args.source_column,
        "target_column": args.target_column,
        "max_pairs": args.max_pairs,
        "form": pairs.form,
        "separator": args.separator,
        "include_source": args.include_source,
        "batch_size": args.batch_size,
        **dataclasses.asdict(recipe),
        **dataclasses.asdict(writing),
        "test_sources": len(sources),
        "evaluation_pairs": args.evaluation_pairs,
        "device": str(device),
        "total_parameters": total,
        "max_length": room,
        "lr_source": lr_source(args, model.config.n_embd, writing=True),
        "data_sha256": pairs.sha256(),
        "base_sha256": model.peft.base_fingerprints["float32"],
        "versions": versions(),
    }
    folder, resuming = open_folder(args, config, stack)
    truncated = f"{cut:,} of the pairs" if cut else ""
    describe_run(model, describe_pairs(pairs), pairs.notes, config, truncated, describe(device))
    if device.type == "cpu" and checkpoint.name != "practice":
        say_what_to_expect(model, batches["train"], recipe.epochs)
    model.checkpointing = args.checkpointing
    parts = (model, batches, recipe, device, folder, config, started)
    texts = {"separator": args.separator, "writing": writing, "test_sources": sources}
    load_base = functools.partial(load_gpt2, checkpoint.source, args.assets)
    texts |= {"evaluated": args.evaluation_pairs, "baselines": not args.no_baselines}
    WritingExperiment(*parts, pairs=pairs, load_base=load_base, **texts).run(resuming)


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict]:
    """The settings of the run, and the options of its method."""
    parser = cli.Parser(description=f"{__doc__}\n{method_list()}")
    add = parser.add_argument
    add("--method", default="lora", metavar="NAME", help="one of those below (default: %(default)s)")
    cli.add_model_arguments(parser)
    add_pair_arguments(parser)
    add_training_arguments(parser)
    add("--out", metavar="FOLDER", help="default: runs/<date>-<method>; an interrupted run resumes")
    group = parser.add_argument_group("writing for the test sources")
    add = group.add_argument
    add_amount_of_writing(group)
    add("--no-baselines", action="store_true", help="leave out the texts of the model before training and the nearest")
    add("--max-new-tokens", type=cli.positive_int, default=80, metavar="N", help="default: %(default)s")
    add("--length-penalty", type=float, default=1.0, metavar="P", help="larger: longer texts (default: %(default)s)")
    add("--no-repeat-ngram-size", type=int, default=0, metavar="N", help="no N tokens twice (default: they may)")
    add_method_options(parser)
    argv = cli.with_settings(argv)
    args = parser.parse_args(argv)
    args.given = argv
    options = method_options(parser, args, {})
    cli.writing_methods(parser, [args.method], "--method")
    return args, options


if __name__ == "__main__":
    cli.run(main)
