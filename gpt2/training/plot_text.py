"""People's own names in pictures: never read as formulas, told apart when shortened, and in a font that has them."""

import contextlib
import unicodedata
from collections.abc import Iterator, Sequence

import matplotlib
from matplotlib import font_manager

LONGEST = 16  # characters of a label on an axis
DEFAULT_FONT = "DejaVu Sans"  # comes with matplotlib
LAST_RESORT = "Last Resort"  # so does this one, which has a box for every character there is
VARIATIONS = "\ufe0e\ufe0f"  # behind an emoji: black or coloured


def drawable(names: Sequence[str]) -> tuple[list[str], str | None]:
    """Labels for an axis, and a note. Where no installed font has their characters the labels are numbers, and the
    note says what they mean."""
    labels = shorten([visible(name) for name in names])
    if fonts_for("".join(labels)) is not None:
        return labels, None
    numbers = [str(i) for i in range(1, len(names) + 1)]
    meaning = ", ".join(f"{number} = {visible(name)}" for number, name in zip(numbers, names, strict=True))
    return numbers, f"No installed font has all characters of the class names; in the picture {meaning}."


def visible(name: str) -> str:
    """Line breaks, tabs and other control characters as spaces; without marks that have no shape of their own."""
    name = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in name)
    return "".join(c for c in name if unicodedata.category(c) != "Cf" and c not in VARIATIONS)


def shorten(names: Sequence[str], longest: int = LONGEST) -> list[str]:
    """At most ``longest`` characters each, and still distinct: cut behind, or in the middle, or else numbered."""

    def cut(name: str, head: int, tail: str) -> str:
        return name if len(name) <= longest else f"{name[:head]}…{tail}"

    behind = [cut(name, longest - 1, "") for name in names]
    half = (longest - 1) // 2
    middle = [cut(name, longest - 1 - half, name[-half:]) for name in names]
    numbered = [cut(name, longest - 1 - len(f" {i}"), f" {i}") for i, name in enumerate(names, start=1)]
    for labels in (behind, middle, numbered):
        if len(set(labels)) == len(names):
            return labels
    return [f"{i} {name}"[:longest] for i, name in enumerate(names, start=1)]


@contextlib.contextmanager
def plain_text(labels: Sequence[str]) -> Iterator[None]:
    """Within, matplotlib reads no text as a formula ($_$ would be a broken one) and has the fonts that these need."""
    families = [DEFAULT_FONT, *(fonts_for("".join(labels)) or [])]
    with matplotlib.rc_context({"text.parse_math": False, "font.family": families}):
        yield


def fonts_for(text: str) -> list[str] | None:
    """Families of installed fonts that, after the default one, have all these characters; None when some are missing.
    matplotlib draws outlines only, so coloured emoji fonts do not count."""
    default = font_manager.get_font(font_manager.findfont(DEFAULT_FONT))
    missing = {c for c in text if ord(c) not in default.get_charmap()}
    chosen = []
    fonts = [entry for entry in font_manager.fontManager.ttflist if not entry.name.startswith(LAST_RESORT)]
    for entry in fonts if missing else ():
        with contextlib.suppress(OSError, RuntimeError):  # a font that cannot be opened
            font = font_manager.get_font(entry.fname)
            found = {c for c in missing if ord(c) in font.get_charmap()} if font.scalable else set()
            if found and entry.name not in chosen:
                chosen.append(entry.name)
                missing -= found
        if not missing:
            break
    return None if missing else chosen
