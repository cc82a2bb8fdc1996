"""A stand-in for the archive of film reviews: the same layout, a few hundred made-up texts."""

import io
import tarfile
from pathlib import Path

SIDES = {"pos": ("fine", "9"), "neg": ("dull", "2")}


def text_of(part: str, label: str, number: int) -> str:
    """Texts differ, but for every 20th training review, which is also review 0 of its kind."""
    if part == "train" and number % 20 == 0:
        number = 0
    return f"A {SIDES[label][0]} film, {part} {number}.<br />" + "I saw it twice. " * (number % 7)


def add(archive: tarfile.TarFile, name: str, content: str, **changes: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content.encode())
    for attribute, value in changes.items():
        setattr(member, attribute, value)
    archive.addfile(member, io.BytesIO(content.encode()))


def write_archive(path: Path, reviews: int = 100) -> Path:
    """``reviews`` for each part and label, three or four of each film; and members that are not to be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "aclImdb/README", "Large Movie Review Dataset v1.0")
        add(archive, "aclImdb/train/pos", "", type=tarfile.DIRTYPE)
        for part in ("train", "test"):
            for label, (_, stars) in SIDES.items():
                films = [f"http://www.imdb.com/title/tt{part}{i * 2 // 7:04}/usercomments\n" for i in range(reviews)]
                add(archive, f"aclImdb/{part}/urls_{label}.txt", "".join(films))
                for i in reversed(range(reviews)):
                    add(archive, f"aclImdb/{part}/{label}/{i}_{stars}.txt", text_of(part, label, i))
        add(archive, "aclImdb/train/unsup/0_0.txt", "No label.")
        add(archive, "aclImdb/train/pos/../../../evil_1.txt", "Elsewhere.")
        add(archive, "/aclImdb/train/pos/1_1.txt", "Elsewhere.")
        add(archive, "aclImdb/train/pos/999_1.txt", "", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    return path
