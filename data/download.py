"""Get a public file: from a local folder, from the cache, or from its source, and always the right one.

    local_or_download("sms-spam/SMSSpamCollection", url, sha256)

        1. <assets>/sms-spam/SMSSpamCollection     assets: the argument, or the environment's GPT2_PEFT_ASSETS
        2. data/cache/sms-spam/SMSSpamCollection   left there by an earlier download
        3. the network                             through pooch, then kept in the cache

Each of the three is compared with a sha256: a file that changed at its source, or that a network's login page
answered for it, would otherwise train a model on something else without a word. Of a .gz file (but not of a .tar.gz
archive) it is the sha256 of what is packed, since the same content may be packed anew.

A large file goes from the network to the disk and is checked there; it is never held in memory as a whole.
"""

import gzip
import hashlib
import sys
import zipfile
import zlib
from pathlib import Path
from urllib.parse import urlsplit

from gpt2.checkpoints.hub import assets_folder
from gpt2.checkpoints.network import why_unreachable
from gpt2.errors import InputError, RunError
from gpt2.files import atomic_write

CACHE = Path(__file__).parent / "cache"


def local_or_download(
    relative: str,
    url: str,
    sha256: str,
    member: str | None = None,
    assets: str | Path | None = None,
    timeout: float = 10.0,
) -> Path:
    """Return the path of a verified file, looked for in the assets folder, the cache, and then at ``url``.

    ``relative`` is the file's path inside the assets folder and inside the cache; ``timeout`` is how many
    seconds the server may take to accept a connection. Raises InputError when the assets folder is missing or
    holds a different file of that name, and RunError when the file cannot be downloaded.
    """
    folder = assets_folder(assets)
    if folder:
        found = folder / relative
        if found.is_file():
            if sha256_of(found, relative) != sha256:
                raise InputError(
                    f"{found} is not the published file (its sha256 differs); "
                    "replace it by an unchanged copy, or remove it to download one"
                )
            return found
    cached = CACHE / relative
    if cached.is_file() and sha256_of(cached, relative) == sha256:
        return cached  # a damaged file in the cache is simply replaced below
    try:
        return fetch(url, cached, sha256, member, timeout)
    except RunError as error:
        advice = f"without a network, put a copy at FOLDER/{relative} and set GPT2_PEFT_ASSETS=FOLDER"
        raise RunError(f"{error}; {advice}") from error


def fetch(url: str, destination: str | Path, sha256: str, member: str | None = None, timeout: float = 10.0) -> Path:
    """Download ``url`` to ``destination`` by an atomic write, and say so in one line on standard error.

    With ``member`` the download is a zip archive and that one file is taken out of it. ``sha256`` belongs to
    what is kept: the extracted file, since an archive's own bytes may change when a server packs it anew.
    Raises RunError, in one sentence, for anything that goes wrong; then nothing is left behind.
    """
    destination = Path(destination)
    if why := why_unreachable(url, timeout):
        raise RunError(f"cannot download {url} ({why})")
    try:
        with atomic_write(destination) as temporary:
            transfer(url, temporary, timeout)
            if member is not None:
                unzip(temporary, member, url)
            if (found := sha256_of(temporary, destination.name)) != sha256:
                raise RunError(f"what {url} gave is not the expected file: sha256 {found}, expected {sha256}")
            size = temporary.stat().st_size
    except (InputError, OSError) as error:
        reason = getattr(error.__cause__ or error, "strerror", None) or error
        raise RunError(f"cannot write {destination}, where {url} is to be kept: {reason}") from error
    print(f"downloaded {url} to {destination} ({size:,} bytes, sha256 verified)", file=sys.stderr)
    return destination


def transfer(url: str, file: Path, timeout: float) -> None:
    """Write what ``url`` holds into ``file``, as it comes. Raises RunError."""
    import pooch  # here: only a download needs them
    import urllib3
    from tqdm import tqdm

    # disable=None: no bar where nobody watches (a log file). total=1: pooch asks `if bar:` before it knows
    # the size, and a tqdm bar without a total refuses to answer that.
    with tqdm(total=1, unit="B", unit_scale=True, desc=urlsplit(url).hostname, leave=False, disable=None) as bar:
        loader = pooch.HTTPDownloader(progressbar=bar, timeout=(timeout, 5 * timeout))
        try:
            loader(url, str(file), None)
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:  # requests' errors are OSErrors
            raise RunError(f"cannot download {url}: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Say in a few words what a network library says in many."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    for kind, words in (
        (exceptions.SSLError, "no secure connection (certificate not accepted)"),
        (exceptions.Timeout, "the server did not answer in time"),
        (exceptions.ChunkedEncodingError, "the connection was interrupted in the middle"),
        (exceptions.ConnectionError, "the connection failed or was interrupted"),
    ):
        if isinstance(error, kind):
            return words
    return getattr(error, "strerror", None) or type(error).__name__


def unzip(archive: Path, member: str, url: str) -> None:
    """Put one file of a zip archive in the archive's place. Raises RunError when it is no archive or lacks the file."""
    try:
        with zipfile.ZipFile(archive) as files:
            content = files.read(member)
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise RunError(f"what {url} gave is not a zip archive with {member} in it") from error
    archive.write_bytes(content)


def sha256_of(path: Path, name: str) -> str:
    """Of a file, read in chunks; of what is packed in it, if ``name`` is that of a .gz file. Raises InputError when it
    cannot be read."""
    digest, packed = hashlib.sha256(), name.endswith(".gz") and not name.endswith(".tar.gz")
    try:
        with open(path, "rb") as raw, gzip.open(raw) if packed else raw as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return "none, for it is not a whole gzip file"
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    return digest.hexdigest()
