"""Find a checkpoint: in a local folder, in the Hugging Face cache, or on the Hugging Face hub, in that order.

Nothing here imports PyTorch, so a command can say which model it will use before the slow imports begin.
"""

import dataclasses
import functools
import os
from dataclasses import dataclass
from pathlib import Path

from gpt2.checkpoints.network import why_unreachable
from gpt2.config import SIZES
from gpt2.errors import InputError, RunError

PRACTICE_FOLDER = Path(__file__).parents[1] / "practice"
ASSETS_VARIABLE = "GPT2_PEFT_ASSETS"
PROBE_SECONDS = 1.2
RANDOM = "random:"
DOWNLOAD_MB = {"gpt2": 548, "gpt2-medium": 1520, "gpt2-large": 3247, "gpt2-xl": 6432}


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's weights lie. ``name`` is one of SIZES, or None for somebody's own folder or file."""

    source: str  # what a later command gives to find the same weights again
    path: Path  # a folder with config.json and safetensors, or one .safetensors file
    name: str | None = None
    notes: tuple[str, ...] = ()  # what the person should know about the choice
    random: bool = False  # only the shape counts: of ``name``, or of the file


def find_checkpoint(source: str | Path = "auto", assets: str | Path | None = None) -> Checkpoint:
    """Turn a name (``gpt2`` … ``gpt2-xl``, ``practice``, ``auto``), a folder or a .safetensors file into a path.

    ``assets`` (or the environment variable GPT2_PEFT_ASSETS) names a folder to look in first, as in
    ``assets/gpt2/model.safetensors``. ``auto`` is ``gpt2`` where it is at hand or can be downloaded, else
    ``practice``. ``random:NAME|PATH`` is a model of the same shape with random weights, always the same ones; of a
    name nothing is downloaded. Raises InputError when there is no such checkpoint, RunError when a download breaks off.
    """
    source = str(source)
    assets_folder(assets)  # a wrong one is worth an error even where it is not needed
    if source.startswith(RANDOM):
        shape = source.removeprefix(RANDOM)
        if shape not in SIZES and not Path(shape).expanduser().exists():
            sizes = ", ".join(RANDOM + name for name in SIZES)
            raise InputError(f"no model {source!r}; choose one of {sizes}, or {RANDOM} and a file or folder", "model")
        known = Checkpoint(shape, Path(shape), shape) if shape in SIZES else find_checkpoint(shape)
        return dataclasses.replace(known, source=RANDOM + known.source, random=True)
    if source == "practice":
        return Checkpoint("practice", PRACTICE_FOLDER, "practice")
    if source == "auto":
        return choose_checkpoint(assets)
    if source in SIZES:
        path = local_folder(source, assets)
        if path is None:
            why = unreachable()
            if why:
                raise InputError(
                    f"{source} is not on this machine and cannot be downloaded ({why}); use the model "
                    f"'practice', or put its config.json and model.safetensors into a folder {source}/ and name the "
                    "folder above it by assets",
                    argument="assets",
                )
            path = download(source)
        return Checkpoint(source, path, source)
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(
            f"no model {source!r}: it is neither a file or folder here nor one of auto, {', '.join(SIZES)}"
        )
    return Checkpoint(str(path.resolve()), path)


def choose_checkpoint(assets: str | Path | None) -> Checkpoint:
    """``auto``: GPT-2 124M if it is available, else the bundled practice model, with the reason."""
    path = local_folder("gpt2", assets)
    if path is not None:
        return Checkpoint("gpt2", path, "gpt2")
    why = unreachable()
    if not why:
        return Checkpoint("gpt2", download("gpt2"), "gpt2")
    notes = (
        f"Using the small bundled practice model: GPT-2 124M is not on this machine and cannot be downloaded ({why}).",
        "Its accuracies are not those of GPT-2 124M. For the real one: connect to the network, or name a folder that "
        "has it (assets).",
    )
    return Checkpoint("practice", PRACTICE_FOLDER, "practice", notes)


def local_folder(name: str, assets: str | Path | None) -> Path | None:
    """The folder that holds ``name`` on this machine: under ``assets``, or in the Hugging Face cache."""
    folder = assets_folder(assets)
    if folder and (folder / name / "model.safetensors").is_file():
        return folder / name
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repository(name), "config.json")
    weights = try_to_load_from_cache(repository(name), "model.safetensors")
    return Path(weights).parent if isinstance(config, str) and isinstance(weights, str) else None


def assets_folder(assets: str | Path | None) -> Path | None:
    """The local folder to look in first: the argument, or the environment variable GPT2_PEFT_ASSETS, or None."""
    assets = assets or os.environ.get(ASSETS_VARIABLE)
    if not assets:
        return None
    folder = Path(str(assets)).expanduser()
    if not folder.is_dir():
        raise InputError(f"the assets folder {folder} does not exist; check it, or {ASSETS_VARIABLE}", "assets")
    return folder


def repository(name: str) -> str:
    """The model's name on the Hugging Face hub."""
    return f"openai-community/{name}"


@functools.cache
def unreachable() -> str | None:
    """Why the hub cannot be reached, or None if it can. Asked once, and answered within PROBE_SECONDS."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    return why_unreachable(constants.ENDPOINT, PROBE_SECONDS)


def download(name: str) -> Path:
    """Download ``openai-community/<name>``, with huggingface_hub's progress bar; it bridges short breaks itself."""
    import huggingface_hub

    huggingface_hub.logging.set_verbosity_error()  # its retry messages; the bar stays
    print(f"Downloading {repository(name)} ({DOWNLOAD_MB[name]:,} MB, once) ...", flush=True)
    try:
        for file in ("config.json", "model.safetensors"):
            path = huggingface_hub.hf_hub_download(repository(name), file)
    except Exception as error:  # noqa: BLE001 - the library raises its HTTP client's errors, which differ by version
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"the download of {repository(name)} was interrupted ({reason}); run the same command again, "
            "or use the model 'practice'"
        ) from error
    return Path(path).parent
