"""Several adapters over one base model, answering the same messages.

    python scripts/switch_adapters.py runs/SPAM runs/TOPICS runs/URGENT --text "Win a prize now, call the office!"

The runs are folders of finetune_spam.py, trained over the same base model: spam, say, and two on tables of your own.
The base is loaded once. Switching uses the few modules of another adapter. Prints each answer and the time of a switch.
With --together, all answers are computed in one batch in which every row has another adapter.
"""

import sys
import time
from pathlib import Path

from common import cli
from common.text import one_line


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
    from gpt2.classifier import classify
    from gpt2.errors import InputError
    from gpt2.tokenizer import get_tokenizer
    from gpt2.training.batching import encode, make_batch
    from gpt2.training.decision import Decision
    from gpt2.training.run_files import read_json, read_run

    settings = {run: read_run(Path(run)) for run in args.runs}
    models = {config["model"] for config in settings.values()}
    if len(models) > 1:
        raise InputError(f"these runs have different base models ({', '.join(sorted(models))}); only one is shared")
    for run, config in settings.items():
        if config["pooling"] != "last":
            raise InputError(
                f"{run} reads its classes by --pooling {config['pooling']}; here all are read at the last token"
            )
    adapters = peft.Adapters(load_gpt2(models.pop(), args.assets))
    for run in settings:
        adapters.add(run, Path(run) / "adapter")

    decisions = {run: Decision(**read_json(Path(run) / "decision.json")) for run in settings}

    def answer(logits: torch.Tensor, run: str) -> str:
        """As classify.py answers: with the temperature and the threshold of the run."""
        classes, positive, decision = settings[run]["classes"], settings[run].get("positive"), decisions[run]
        probabilities = (logits / decision.temperature).softmax(dim=-1).numpy()
        best = decision.answers(probabilities[None], classes.index(positive) if positive else None)[0]
        return f"{one_line(str(classes[best]))}\t{probabilities[best]:.1%}"

    def tokens_for(run: str, text: str) -> list[int]:
        """As many as this run was trained to read; the others are not cut because of it."""
        room = settings[run]["max_length"]
        (tokens,), cut = encode([text], get_tokenizer(), room)
        if cut:
            print(f"{run} reads {room} tokens: this message is longer and was cut for it.", file=sys.stderr)
        return tokens

    for text in args.text:
        batches = {run: make_batch([tokens_for(run, text)], [0]) for run in args.runs}
        print(one_line(text))
        if args.together:
            model = adapters.mix(args.runs)
            rows = [batches[run].tokens[0].tolist() for run in args.runs]
            tokens, lengths, _ = make_batch(rows, [0] * len(rows))
            with torch.no_grad():
                logits = classify(model, tokens, lengths)
            for run, row in zip(args.runs, logits, strict=True):
                print(f"  {run}\t{answer(row, run)}")
            continue
        for run in args.runs:
            start = time.perf_counter()
            model = adapters.set_adapter(run)
            switched = time.perf_counter()
            with torch.no_grad():
                row = classify(model, batches[run].tokens, batches[run].lengths)[0]
            answered = time.perf_counter()
            print(
                f"  {run}\t{answer(row, run)}\t(switched in {(switched - start) * 1e3:.3f} ms, "
                f"answered in {(answered - switched) * 1e3:.0f} ms)"
            )


if __name__ == "__main__":
    cli.run(main)
