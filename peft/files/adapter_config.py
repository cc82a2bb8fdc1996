"""Reading adapter_config.json, which may come from anybody: everything is checked that does not need the model."""

import json
from pathlib import Path

from gpt2.errors import InputError
from peft.options import kinds
from peft.registry import METHODS

CONFIG_FILE, TENSOR_FILE = "adapter_config.json", "adapter_model.safetensors"
OWN_TYPE = "GPT2_PEFT_ADAPTER"
MOST_CONFIG_BYTES = 1_000_000
RENAMED = {"target": "target_modules", "layers": "layers_to_transform", "also_train": "modules_to_save"}


def read_config(folder: Path) -> dict:
    """adapter_config.json, with everything checked that does not need the model."""
    path = folder / CONFIG_FILE
    for file in (path, folder / TENSOR_FILE):
        if not file.is_file():
            pickled = "; adapter_model.bin could run code when loaded, so convert it to safetensors first"
            also = pickled if file.suffix != ".json" and (folder / "adapter_model.bin").exists() else ""
            raise InputError(f"{folder} holds no adapter: {file.name} is missing{also}")
    try:
        if path.stat().st_size > MOST_CONFIG_BYTES:
            raise ValueError("it is far too long")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not {"method", "peft_type"} & config.keys():
            raise ValueError("it names no method")
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"{path} is not an adapter's configuration ({one_line(error)})") from error
    if config.get("options") is None:
        return config
    method, options, classes = config.get("method"), config["options"], config.get("num_classes")
    kind = config.get("peft_type", OWN_TYPE)
    if (
        not isinstance(method, str)
        or method not in METHODS
        or kind not in (OWN_TYPE, METHODS[method].hugging_face or OWN_TYPE)
    ):
        raise InputError(f"{path}: method {one_line(method)} with this peft_type is unknown")
    if not isinstance(options, dict) or not (classes is None or type(classes) is int and 1 < classes <= 10**9):
        raise InputError(f"{path}: options and num_classes must be an object and a whole number of at least 2")
    for name, value in options.items():
        check_option(f"{path}: option {one_line(name)} is {one_line(value)}", method, name, value)
    return config


def check_option(what: str, method: str, name: str, value: object) -> None:
    """Raise InputError unless a value is one that the method's option could have been saved with."""
    if name == "modules_to_save":
        allowed: tuple[type, ...] = (str,)
    elif name in METHODS[method].options:
        allowed = kinds(METHODS[method].options[name])
    elif name in RENAMED:
        raise InputError(f"{what}, but it is called {RENAMED[name]} now; rename it in {CONFIG_FILE}")
    else:
        raise InputError(f"{what}, but {method} has no such option")
    allowed += (int,) if float in allowed else ()
    if type(value) not in allowed:
        raise InputError(f"{what}, expected {' or '.join(kind.__name__ for kind in allowed)}")
    if isinstance(value, str) and len(value) > 10_000:
        raise InputError(f"{what}, expected at most 10,000 characters")
    if isinstance(value, int | float) and not abs(value) <= 1e9:
        raise InputError(f"{what}, expected a number from -1,000,000,000 to 1,000,000,000")


def one_line(value: object) -> str:
    """A value from a file, fit for a message: printable and short."""
    text = str(value) if isinstance(value, Exception) else repr(value)
    return ascii(text)[1:-1][:80]


def saved_fingerprints(config: dict) -> dict:
    """gpt2.checkpoints.fingerprints.fingerprints of the base, as ``save`` has written them."""
    rounded = config.get("base_fingerprints_rounded")
    return {"float32": config["base_fingerprint"]} | (rounded if isinstance(rounded, dict) else {})
