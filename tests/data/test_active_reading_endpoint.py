"""Augmentations by a model: a stub of the endpoint on this machine, with all that goes wrong."""

import http.server
import json
import threading

import pytest

from smem_jax.data.active_reading import Endpoint
from smem_jax.data.active_reading.chat import Chat, ChatSettings
from smem_jax.data.byte_tokenizer import ByteTokenizer
from smem_jax.errors import InputError, TransientError

TITLE, TEXT = "Xyland: Geography", "Area: 20 sq km"


class Stub(http.server.ThreadingHTTPServer):
    """Answers with what `reply` gives for (number of the call, body): status, headers, body."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls = []
        self.lock = threading.Lock()
        self.reply = lambda number, body: answer(f"text {body['seed']}")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.calls)
            self.server.calls.append((self.path, dict(self.headers), body))
        status, headers, content = self.server.reply(number, body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args):
        pass


def answer(content):
    return 200, {}, json.dumps({"choices": [{"message": {"content": content}}]}).encode()


def model(_number, body):
    """A model that names two ways to study, and writes another text for each seed."""
    prompt = body["messages"][0]["content"]
    if "Suggest" in prompt:
        return answer("Ways to study:\n- Make a list of facts\n2. Ask yourself about numbers")
    way = "list" if "Make a list of facts" in prompt else "quiz"
    return answer(f"{way} {body['seed']}: Xyland has 20 sq km. " + "It is large. " * 40)


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _settings(stub, **changes):
    return ChatSettings(stub.url, "a-model", **{"first_wait": 0.01, "retries": 2, **changes})


def _endpoint(stub, tmp_path, **changes):
    return Endpoint(_settings(stub, **changes), tmp_path / "c.jsonl", ByteTokenizer(), 100, 4)


def test_strategies_first_then_each_is_applied(stub, tmp_path):
    stub.reply = model
    texts = _endpoint(stub, tmp_path).augment(TITLE, TEXT, 10, seed=5)
    assert len(set(texts)) == 10
    assert [text[:6] for text in texts[:4]] == ["list 5", "quiz 6", "list 7", "quiz 8"]
    assert all(len(text) <= 100 and text.endswith("It is large.") for text in texts)
    assert len(stub.calls) == 11
    path, headers, body = stub.calls[0]
    assert path == "/v1/chat/completions" and "Authorization" not in headers
    assert body["model"] == "a-model" and body["seed"] == 5
    assert all(TEXT in call[2]["messages"][0]["content"] for call in stub.calls)


def test_what_was_answered_is_not_asked_again(stub, tmp_path):
    stub.reply = model
    texts = _endpoint(stub, tmp_path).augment(TITLE, TEXT, 6, seed=0)
    assert _endpoint(stub, tmp_path).augment(TITLE, TEXT, 6, seed=0) == texts
    assert len(stub.calls) == 7
    # A run that was killed in the middle of a line goes on behind the whole ones.
    cache = tmp_path / "c.jsonl"
    cache.write_bytes(cache.read_bytes()[:-5])
    assert _endpoint(stub, tmp_path).augment(TITLE, TEXT, 6, seed=0) == texts
    assert len(stub.calls) == 8
    assert len(cache.read_text().splitlines()) == 7


def test_the_key_of_the_environment_is_sent_and_kept_nowhere(stub, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret-key")
    chat = Chat(_settings(stub, api_key_variable="MY_KEY"), tmp_path / "c.jsonl")
    chat.ask("Hello", 0)
    assert stub.calls[0][1]["Authorization"] == "Bearer secret-key"
    assert "secret-key" not in (tmp_path / "c.jsonl").read_text()
    stub.reply = lambda *_: (401, {}, b"bad key")
    with pytest.raises(InputError, match=r"status 401 \(bad key\).*read from MY_KEY") as caught:
        chat.ask("Hello", 1)
    assert "secret-key" not in str(caught.value)
    assert not isinstance(caught.value, TransientError)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_endpoint_is_asked_again(stub, tmp_path, status):
    busy = (status, {"Retry-After": "0"}, b"busy")
    stub.reply = lambda number, _: busy if number < 2 else answer(" done ")
    assert Chat(_settings(stub), tmp_path / "c").ask("Hello", 0) == "done"
    assert len(stub.calls) == 3


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((500, {}, b"<html>\nfell over\n</html>"), r"status 500 \(<html> fell over </html>\), 3 t"),
        ((429, {}, b""), r"status 429 \(Too Many Requests\), 3 times"),
        (answer("  "), "the answer is empty, 3 times"),
    ],
)
def test_an_endpoint_that_stays_away_is_a_transient_error(stub, tmp_path, reply, message):
    stub.reply = lambda *_: reply
    with pytest.raises(TransientError, match=message) as caught:
        Chat(_settings(stub), tmp_path / "c").ask("Hello", 0)
    assert "\n" not in str(caught.value)
    assert len(stub.calls) == 3
    assert not (tmp_path / "c").exists()


def test_a_slow_endpoint_and_one_that_is_not_there(stub, tmp_path):
    wait = threading.Event()
    stub.reply = lambda *_: (wait.wait(1), answer("late"))[1]
    with pytest.raises(TransientError, match=r"cannot be reached \(timed out\), 1 times"):
        Chat(_settings(stub, timeout=0.1, retries=0), tmp_path / "c").ask("Hello", 0)
    wait.set()
    nowhere = ChatSettings("http://127.0.0.1:9", "m", retries=1, first_wait=0.01)
    with pytest.raises(TransientError, match=r"cannot be reached \(.*refused.*\), 2 times"):
        Chat(nowhere, tmp_path / "c").ask("Hello", 0)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((200, {}, b"<html>\nhello"), r"the answer is not JSON: '<html>\\nhello'"),
        ((200, {}, b'{"error": 1}'), r"has no choices\[0\]\.message\.content"),
        ((200, {}, b'{"choices": []}'), r"has no choices\[0\]\.message\.content"),
        ((200, {}, b"[]"), r"has no choices\[0\]\.message\.content"),
        (answer(None), r"message\.content=None must be text"),
        ((404, {}, b"no such model"), r"status 404 \(no such model\)"),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), "status 302"),
    ],
)
def test_a_wrong_answer_is_an_input_error_at_once(stub, tmp_path, reply, message):
    stub.reply = lambda *_: reply
    with pytest.raises(InputError, match=message) as caught:
        Chat(_settings(stub), tmp_path / "c").ask("Hello", 0)
    assert "\n" not in str(caught.value) and stub.url in str(caught.value)
    assert not isinstance(caught.value, TransientError)
    assert len(stub.calls) == 1


def test_a_model_that_repeats_itself_or_names_no_ways_is_an_error(stub, tmp_path):
    stub.reply = lambda *_: answer("Always the same text.")
    with pytest.raises(InputError, match=r"10 answers of the model gave 1 distinct texts"):
        _endpoint(stub, tmp_path).augment(TITLE, TEXT, 4, seed=0)
    stub.reply = lambda *_: answer("Sorry.")
    with pytest.raises(InputError, match=r"named no ways to study, but said 'Sorry\.'"):
        _endpoint(stub, tmp_path).augment(TITLE, TEXT, 4, seed=1)


def test_what_is_no_url_and_what_is_no_cache(tmp_path):
    with pytest.raises(InputError, match="base_url='localhost' must begin with http"):
        Chat(ChatSettings("localhost", "m"), tmp_path / "c")
    cache = tmp_path / "cache.jsonl"
    cache.write_text('{"key": 3}\n')
    with pytest.raises(InputError, match=r"cache\.jsonl:1: must have the texts 'key'"):
        Chat(ChatSettings("http://localhost", "m"), cache)
