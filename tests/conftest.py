"""What holds for all tests."""

import sys

import pytest

# Of the events in which a program asks for a host, which argument says so.
_ASKS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}
_HERE = (None, "", "localhost", "127.0.0.1", "::1")


def _stay_here(event: str, arguments: tuple) -> None:
    """Fails a test in which another machine is asked for anything; nothing can pass over that."""
    if event not in _ASKS:
        return
    asked = arguments[_ASKS[event]]
    is_file = event in ("socket.connect", "socket.sendto") and not isinstance(asked, tuple)
    host = asked[0] if isinstance(asked, tuple) else asked
    if not is_file and host not in _HERE:
        pytest.fail(f"{event} of {host!r}: a test asks no other machine")


def pytest_configure() -> None:
    sys.addaudithook(_stay_here)


@pytest.fixture(scope="session", autouse=True)
def programs_are_compiled_once(tmp_path_factory):
    """Many tests run a program that another one has compiled; none is kept for a user."""
    import jax  # no sooner: some tests say beforehand what it should find

    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("programs")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
