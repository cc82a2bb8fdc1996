"""The rows of a comparison: a method with default options, or a settings file of experiments/.

    # experiments/lora-qv.toml
    method = "lora"
    about = "LoRA on queries and values only, as in the paper (Hu et al., 2021)."

    [options]
    target_modules = "q_proj,v_proj"

The file's name is the row's name. experiments/README.md says what a file may hold.
"""

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.method_options import flag
from data import SOURCES
from data.sms_spam import PROTOCOLS
from gpt2.checkpoints.hub import RANDOM
from gpt2.errors import InputError
from peft.files.adapter_config import check_option
from peft.registry import METHODS

KEYS = {  # what a file may hold besides its table of options: key -> types, and the words for them
    "method": ((str,), "a method's name"),
    "about": ((str,), "a sentence"),
    "lr": ((int, float), "a number above 0"),
    "epochs": ((int,), "a whole number of at least 1"),
    "model": ((str,), '"random" or a model\'s name'),
    "data": ((str, list), "a name or a list of names"),
    "protocol": ((str,), f"one of {', '.join(PROTOCOLS)}"),
    "options": ((dict,), "a table of the method's options"),
}


@dataclass(frozen=True)
class Row:
    """What is trained, and how. What is None is as in the rest of the comparison."""

    name: str
    method: str
    options: tuple[tuple[str, Any], ...] = ()  # those that differ from the method's defaults
    lr: float | None = None
    epochs: int | None = None
    model: str | None = None  # "random": that shape, with random weights
    data: tuple[str, ...] = ()  # comparisons on other data leave the row out; () fits all
    protocol: str | None = None
    about: str = ""

    def base(self, model: str) -> str:
        """The row's base model in a comparison of ``model``."""
        if self.model == "random":
            return model if model.startswith(RANDOM) else RANDOM + model
        return self.model or model

    def arguments(self, model: str) -> list[str]:
        """What finetune_spam.py is told of it, in a comparison of ``model``."""
        words = [f"--method={self.method}"]
        for key, value in self.stated(model).items():
            on = flag(key) if value is not False else flag(f"no-{key}")
            words.append(on if isinstance(value, bool) else f"{on}={value}")
        return words

    def stated(self, model: str) -> dict[str, Any]:
        """What the row says of its runs, in a comparison of ``model``."""
        base = self.base(model) if self.model else None
        settings = {**dict(self.options), "lr": self.lr, "epochs": self.epochs, "model": base}
        return {key: value for key, value in settings.items() if value is not None}

    def contradiction(self, config: dict, model: str) -> str | None:
        """What the row says and a run's config.json says otherwise, as in "rank 8, not 4"; None where they agree."""
        recorded = config | config["options"] | {"model": config.get("model_asked_for")}
        for key, value in ({"method": self.method} | self.stated(model)).items():
            if recorded.get(key) != value:
                return f"{key} {value}, not {recorded.get(key)}"
        return None

    def why_not(self, data: str, protocol: str | None) -> str | None:
        """Why a comparison on this data leaves the row out; None where it takes it."""
        if self.data and data not in self.data:
            return f"data {', '.join(self.data)}"
        return f"protocol {self.protocol}" if self.protocol and (data, self.protocol) != ("sms", protocol) else None


def base_name(model: str) -> str:
    """A base model as reports call it: of a file or folder only the name."""
    return RANDOM * model.startswith(RANDOM) + Path(model.removeprefix(RANDOM)).name


def read_rows(paths: Sequence[str | Path]) -> list[Row]:
    """The rows of settings files, and of all such files in folders. Raises InputError that names the file and key."""
    files = []
    for path in map(Path, paths):
        found = sorted(path.glob("*.toml")) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path} holds no settings file NAME.toml; see experiments/README.md", "experiments")
        files += found
    names: dict[str, Path] = {}
    for file in files:
        if file.stem in METHODS or names.setdefault(file.stem, file) != file:
            taken = names.get(file.stem, "a method")
            raise InputError(f"{file}: the name {file.stem} is that of {taken}; rename the file", "experiments")
    return [read_row(file) for file in files]


def read_row(file: Path) -> Row:
    """One settings file. Raises InputError for anything in it that is not as experiments/README.md says."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot read {file}: {error.strerror}; name a settings file or a folder", "experiments"
        ) from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise InputError(f"{file} is not TOML: {error}") from error
    for key, value in content.items():
        if key not in KEYS:
            raise InputError(f"{file}: unknown key {key!r}; it may hold {', '.join(KEYS)}")
        types, words = KEYS[key]
        if type(value) not in types:
            raise InputError(f"{file}: {key} is {value!r}, expected {words}")
    for key in ("method", "about"):
        if not content.get(key):
            raise InputError(f"{file}: {key} is missing; expected {KEYS[key][1]}")
    method, options = content["method"], content.get("options", {})
    if method not in METHODS:
        raise InputError(f"{file}: unknown method {method!r}; choose one of {', '.join(METHODS)}")
    for name, value in options.items():
        check_option(f"{file}: options.{name} is {value!r}", method, name, value)
    data = [content["data"]] if isinstance(content.get("data"), str) else content.get("data", [])
    check_values(file, content, data)
    given = {key: content.get(key) for key in ("lr", "epochs", "model", "protocol")}
    return Row(file.stem, method, tuple(options.items()), data=tuple(data), about=content["about"], **given)


def check_values(file: Path, content: dict, data: list) -> None:
    """Raise InputError for a value that is of the right type and no possible one."""
    for name in data:
        if name not in SOURCES[1:] and not (isinstance(name, str) and name.endswith((".csv", ".tsv"))):
            names = ", ".join(SOURCES[1:])
            raise InputError(f"{file}: data names {name!r}; choose among {names}, or name a .csv or .tsv file")
    protocol, lr, epochs = content.get("protocol"), content.get("lr", 1.0), content.get("epochs", 1)
    if protocol is not None and (protocol not in PROTOCOLS or data not in ([], ["sms"])):
        wanted = KEYS["protocol"][1] if protocol not in PROTOCOLS else 'no protocol, or data = "sms" alone'
        raise InputError(f"{file}: protocol is {protocol!r}, expected {wanted}")
    for key, value, possible in (("lr", lr, 0 < lr < math.inf), ("epochs", epochs, epochs >= 1)):
        if not possible:
            raise InputError(f"{file}: {key} is {value!r}, expected {KEYS[key][1]}")
