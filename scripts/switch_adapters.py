"""Several adapters over one base model, answering the same messages.

    python scripts/switch_adapters.py runs/SPAM runs/TOPICS runs/E2E --text "Win a prize now, call the office!"

The runs are folders of finetune_spam.py, which answer with a class, and of finetune_text.py, which write a text, each
trained over the same base model. The base is loaded once. Switching uses the few modules of another adapter. Prints
each answer and the time of a switch. With --together, all answers come from one batch in which every row has another
adapter.
"""

import sys
import time
from pathlib import Path
from typing import Any

from common import cli
from common.continuing import as_trained
from common.text import one_line

SEARCH = ("max_new_tokens", "num_beams", "length_penalty", "no_repeat_ngram_size")  # how a run writes: its settings


def main(argv: list[str]) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument("--text", action="append", required=True, help="message to answer; can be given several times")
    parser.add_argument("--together", action="store_true", help="one batch, an adapter per row")
    parser.add_argument("--assets", metavar="FOLDER", help="local folder with models, as in finetune_spam.py")
    args = parser.parse_args(argv)

    import torch

    import peft
    from gpt2.checkpoints.weights import load_gpt2
    from gpt2.errors import InputError
    from gpt2.tokenizer import END_OF_TEXT, get_tokenizer
    from gpt2.training.batching import encode, make_batch
    from gpt2.training.decision import Decision
    from gpt2.training.run_files import read_json, read_run
    from gpt2.training.writing import check_room

    settings = {run: read_run(Path(run), task=None) for run in args.runs}
    models = {config["model"] for config in settings.values()}
    if len(models) > 1:
        raise InputError(f"these runs have different base models ({', '.join(sorted(models))}); only one is shared")
    for run, config in settings.items():
        if config.get("pooling", "last") != "last":
            raise InputError(
                f"{run} reads its classes by --pooling {config['pooling']}; here all are read at the last token"
            )
    writing = {run: how_it_writes(config) for run, config in settings.items() if config.get("task") == "writing"}
    together: dict[str, Any] = next(iter(writing.values()), {})
    differ = [key for key in SEARCH if any(how.get(key) != together.get(key) for how in writing.values())]
    if args.together and differ:
        raise InputError(
            f"one batch is written by one search, but {', '.join(differ)} differ in {', '.join(writing)}; leave out "
            "--together"
        )
    tokenizer = get_tokenizer()
    adapters = peft.Adapters(load_gpt2(models.pop(), args.assets))
    for run in settings:
        adapters.add(run, Path(run) / "adapter")
    decisions = {run: Decision(**read_json(Path(run) / "decision.json")) for run in settings}

    def answer(found: torch.Tensor, run: str, shown: str) -> str:
        """A text, or a class as classify.py answers: with the temperature and the threshold of the run."""
        if run in writing:
            new = tokenizer.decode(found[found != END_OF_TEXT].tolist())
            return one_line((shown + new).strip())
        classes, positive, decision = settings[run]["classes"], settings[run].get("positive"), decisions[run]
        probabilities = (found / decision.temperature).softmax(dim=-1).numpy()
        best = decision.answers(probabilities[None], classes.index(positive) if positive else None)[0]
        return f"{one_line(str(classes[best]))}\t{probabilities[best]:.1%}"

    def prompt_for(run: str, text: str) -> tuple[str, list[int]]:
        """What to show before the answer, and the tokens: for a classifier as many as it was trained to read."""
        if run in writing:
            model = adapters.set_adapter(run)
            (shown,), prompts = as_trained(settings[run], [text], tokenizer)
            check_room([text], prompts, model.config.n_positions - model.virtual_positions())
            return shown, prompts[0]
        room = settings[run]["max_length"]
        (tokens,), cut = encode([text], tokenizer, room)
        if cut:
            print(f"{run} reads {room} tokens: this message is longer and was cut for it.", file=sys.stderr)
        return "", tokens

    def ask(runs: list[str], prompts: list[list[int]], how: dict) -> list[torch.Tensor]:
        tokens, lengths, _ = make_batch(prompts, [0] * len(prompts))
        return adapters.answer(runs, tokens, lengths, vocabulary=tokenizer.n_vocab, **how)

    for text in args.text:
        prompts = {run: prompt_for(run, text) for run in args.runs}
        print(one_line(text))
        if args.together:
            found = ask(args.runs, [prompts[run][1] for run in args.runs], together)
            for run, row in zip(args.runs, found, strict=True):
                print(f"  {run}\t{answer(row, run, prompts[run][0])}")
            continue
        for run in args.runs:
            start = time.perf_counter()
            adapters.set_adapter(run)
            switched = time.perf_counter()
            (row,) = ask([run], [prompts[run][1]], writing.get(run, {}))
            answered = time.perf_counter()
            print(
                f"  {run}\t{answer(row, run, prompts[run][0])}\t(switched in {(switched - start) * 1e3:.3f} ms, "
                f"answered in {(answered - switched) * 1e3:.0f} ms)"
            )


def how_it_writes(config: dict) -> dict:
    """The search that the run's texts were written by."""
    return {key: config[key] for key in SEARCH if key in config}


if __name__ == "__main__":
    cli.run(main)
