"""Turn a run of finetune_spam.py or finetune_text.py into a plain transformers model, with nothing of this repository
in it.

    python scripts/export_hf.py runs/FOLDER out/spam
    python scripts/export_hf.py runs/FOLDER out/lm --language-model       # without the classification head
    python scripts/export_hf.py runs/WRITING out/writer                   # a run of finetune_text.py

Afterwards, anywhere:  transformers.pipeline("text-classification", model="out/spam")("You have won a prize!")
or, of what writes:    transformers.pipeline("text-generation", model="out/writer")("city[Ostby], sky[rain]\\n")
See docs/elsewhere.md for serving it and for GGUF.
"""

import json
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

    from gpt2.errors import InputError
    from gpt2.training.run_files import read_json

    run, out = Path(args.run), Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already and not empty; name another folder")
    if read_json(run / "config.json").get("task") == "writing":
        if args.language_model:
            raise InputError(f"{run} is a run of finetune_text.py: it has no classification head to leave out")
        kind, advice = export_writing(run, out, args.assets)
    else:
        kind, advice = export_classifier(run, out, args.assets, args.language_model), ""
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    print(f"Wrote {out}: {kind}, {size:,.0f} MB, for transformers' from_pretrained.{advice}")


def export_classifier(run: Path, out: Path, assets: str | None, language_model: bool) -> str:
    """Write the classifier, or the language model below it; returns what it is."""
    import peft
    from gpt2.errors import InputError
    from peft.run_classifier import RunClassifier

    trained = RunClassifier.load(run, assets)
    if trained.recipe_.pooling != "last" and not language_model:
        raise InputError(
            f"this run reads its classes by --pooling {trained.recipe_.pooling}, but GPT2ForSequenceClassification "
            "reads them at the last token before the padding; train it with --pooling last to export it"
        )
    classes = trained.classes_.tolist()
    peft.export(trained.model_, out, classes, trained.max_length_, language_model)
    return "language model" if language_model else f"classifier of {', '.join(map(one_line, classes))}"


def export_writing(run: Path, out: Path, assets: str | None) -> tuple[str, str]:
    """Write the language model, which generates as the run did for its test sources; returns what it is, and how to
    prompt it."""
    import peft
    from data.alpaca import instruction_source
    from gpt2.checkpoints.weights import load_gpt2
    from gpt2.training.run_files import read_run

    config = read_run(run, "writing")
    settings = {name: config[name] for name in ("max_new_tokens", "no_repeat_ngram_size")} | {"do_sample": False}
    if config["num_beams"] > 1:
        settings |= {name: config[name] for name in ("num_beams", "length_penalty")} | {"early_stopping": True}
    model = peft.load(load_gpt2(config["model"], assets), run / "adapter")
    peft.export(model, out, generation=settings, begin_texts=config["form"] == "text")
    sources = {"pairs": "SOURCE", "instructions": instruction_source("INSTRUCTION")}
    if config["form"] == "text":
        return "language model", " Prompt it with the beginning of a text."
    prompt = json.dumps(sources[config["form"]] + config["separator"], ensure_ascii=False)
    return "language model", f" Prompt it with {prompt}."


if __name__ == "__main__":
    cli.run(main)
