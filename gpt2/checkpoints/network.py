"""Is the network there? Asked before a download, so that a machine without one is told at once."""

import http.client
import re
import threading
import urllib.error
import urllib.request


def why_unreachable(url: str, seconds: float) -> str | None:
    """Why the server of ``url`` gives no answer within ``seconds``, in a few words; None when it answers.

    Goes through the system's proxy, if any. A thread asks and is left behind when time is up, because resolving a
    host name has no time limit of its own and can hang for half a minute where there is no network.
    """
    answer: list[str | None] = ["no answer from the network"]

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.build_opener().open(request, timeout=seconds).close()  # reads the proxy settings anew
            answer[0] = None
        except urllib.error.HTTPError:
            answer[0] = None  # a refusal is an answer: the network is there
        except (OSError, ValueError, http.client.HTTPException) as error:
            answer[0] = "no network: " + re.sub(r"[<>]|urlopen error |\[Errno -?\d+\] ?", "", str(error)).strip()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answer[0]
