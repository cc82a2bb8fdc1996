"""The probe that decides whether a download is worth trying."""

import http.server
import socket
import threading

import pytest

from gpt2.checkpoints.network import why_unreachable


@pytest.fixture
def server():
    """A web server that knows no page: every answer is a 404 or 501."""
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    httpd.RequestHandlerClass.log_message = lambda *_: None
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()


def test_any_answer_counts_even_a_refusal(server):
    assert why_unreachable(server, 60) is None


def test_a_closed_port_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can take it, and connections are refused
        assert "refused" in why_unreachable(f"http://127.0.0.1:{taken.getsockname()[1]}", 60)


def test_a_server_that_never_answers_does_not_hang():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "no" in why_unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2)


def test_a_name_that_never_resolves_does_not_hang(monkeypatch):
    release, gave_up = threading.Event(), threading.Event()

    def resolve_for_ever(*_, **__):
        release.wait(1800)
        gave_up.set()
        raise OSError("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", resolve_for_ever)
    assert why_unreachable("https://example.invalid/file", 0.05) == "no answer from the network"
    assert not gave_up.is_set()  # the answer came while the look-up was still going on
    release.set()


def test_the_proxy_is_what_must_be_reachable(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, server)
    assert why_unreachable("http://example.invalid/file", 60) is None
