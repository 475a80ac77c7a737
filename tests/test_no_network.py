"""All that tests do in their own process, they do without a network: `conftest` sees to it."""

import socket

import pytest


@pytest.mark.parametrize(
    "ask",
    [
        lambda: socket.create_connection(("192.0.2.1", 9), timeout=1),
        lambda: socket.getaddrinfo("smem.invalid", 443),
        lambda: socket.gethostbyname("smem.invalid"),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 9)),
        lambda: socket.socket().connect_ex(("192.0.2.1", 9)),
    ],
    ids=["create_connection", "getaddrinfo", "gethostbyname", "sendto", "connect_ex"],
)
def test_a_test_that_asks_another_machine_fails_whatever_it_catches(ask):
    def passes_over_errors():
        try:
            ask()
        except Exception:
            return

    with pytest.raises(pytest.fail.Exception, match="asks no other machine"):
        passes_over_errors()
