"""Turn a run of finetune_spam.py into a plain transformers model, with nothing of this repository in it.

    python scripts/export_hf.py runs/FOLDER out/spam
    python scripts/export_hf.py runs/FOLDER out/lm --language-model       # without the classification head

Afterwards, anywhere:  transformers.pipeline("text-classification", model="out/spam")("You have won a prize!")
See docs/elsewhere.md for serving it and for GGUF.
"""

from pathlib import Path

from common import cli
from common.text import one_line


def main(argv: list[str]) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("run", metavar="RUN", help="folder of a run, such as runs/2026-01-31-143005-lora")
    parser.add_argument("out", metavar="OUT", help="folder to write; must be new or empty")
    parser.add_argument("--language-model", action="store_true", help="leave the classification head out")
    parser.add_argument("--assets", metavar="FOLDER", help="local folder with models, as in finetune_spam.py")
    args = parser.parse_args(argv)

    import peft
    from gpt2.errors import InputError
    from peft.run_classifier import RunClassifier

    out = Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already and not empty; name another folder")
    run = RunClassifier.load(args.run, args.assets)
    if run.recipe_.pooling != "last" and not args.language_model:
        raise InputError(
            f"this run reads its classes by --pooling {run.recipe_.pooling}, but GPT2ForSequenceClassification reads "
            "them at the last token before the padding; train it with --pooling last to export it"
        )
    classes = run.classes_.tolist()
    peft.export(run.model_, out, classes, run.max_length_, args.language_model)
    kind = "language model" if args.language_model else f"classifier of {', '.join(map(one_line, classes))}"
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    print(f"Wrote {out}: {kind}, {size:,.0f} MB, for transformers' from_pretrained.")


if __name__ == "__main__":
    cli.run(main)
