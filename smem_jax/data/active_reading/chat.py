"""Calls of an OpenAI-compatible chat endpoint, with retries and a cache on disk."""

import dataclasses
import hashlib
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from smem_jax.data.jsonl import iter_objects
from smem_jax.errors import InputError, TransientError

_TRANSIENT = (408, 409, 425, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 60.0  # seconds


@dataclasses.dataclass(frozen=True)
class ChatSettings:
    """Which model answers, and how.

    Attributes:
      base_url: up to and without '/chat/completions', such as 'http://localhost:8000/v1'.
      model: its name at the endpoint.
      api_key_variable: the environment variable with the API key; unset, none is sent.
      temperature: of sampling.
      max_tokens: of an answer.
      timeout: seconds for one call.
      retries: further tries after one that failed for a passing reason.
      first_wait: seconds before the first of them; doubled each time, unless the endpoint says.
    """

    base_url: str
    model: str
    api_key_variable: str = "OPENAI_API_KEY"
    temperature: float = 0.8
    max_tokens: int = 1024
    timeout: float = 120.0
    retries: int = 5
    first_wait: float = 1.0


class Chat:
    """Answers of a chat model; what was answered once is read from the cache.

    The cache is a file of JSON lines, `{"key": ..., "content": ...}`, written as answers come, so
    that a run that was stopped goes on where it was. Calls may come from several threads.

    Raises InputError for a URL that is none, and for a damaged cache.
    """

    def __init__(self, settings: ChatSettings, cache: str | Path):
        if not settings.base_url.startswith(("http://", "https://")):
            raise InputError(f"base_url={settings.base_url!r} must begin with http:// or https://")
        self._settings = settings
        self._url = settings.base_url.rstrip("/") + "/chat/completions"
        self._cache_path = Path(cache)
        self._lock = threading.Lock()
        self._cache = _read_cache(self._cache_path)
        self._opener = urllib.request.build_opener(_NoRedirect)

    def ask(self, prompt: str, seed: int) -> str:
        """The answer to one user message, stripped.

        Raises TransientError where the endpoint is away or busy after all retries, InputError where
        it refuses the request or answers in another form.
        """
        body = {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self._settings.temperature,
            "max_tokens": self._settings.max_tokens,
            "seed": seed,
        }
        data = json.dumps(body, sort_keys=True).encode()
        key = hashlib.sha256(self._url.encode() + b"\n" + data).hexdigest()
        with self._lock:
            cached = self._cache.get(key)
        if cached is None:
            cached = self._with_retries(data)
            self._keep(key, cached)
        return cached

    def _keep(self, key: str, content: str) -> None:
        with self._lock:
            self._cache[key] = content
            try:
                self._cache_path.parent.mkdir(parents=True, exist_ok=True)
                with open(self._cache_path, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": key, "content": content}) + "\n")
            except OSError as error:
                raise InputError(
                    f"{self._cache_path}: cannot be written ({error.strerror or error})"
                ) from error

    def _with_retries(self, data: bytes) -> str:
        wait = self._settings.first_wait
        for tries_left in range(self._settings.retries, -1, -1):
            try:
                return self._call(data)
            except _Passing as error:
                if not tries_left:
                    tries = self._settings.retries + 1
                    raise TransientError(f"{self._url}: {error}, {tries} times") from error
                time.sleep(min(wait if error.wait is None else error.wait, _LONGEST_WAIT))
                wait *= 2
        raise AssertionError("unreachable: the last try returns or raises")

    def _call(self, data: bytes) -> str:
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self._settings.api_key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, data, headers)
        try:
            with self._opener.open(request, timeout=self._settings.timeout) as response:
                return _content(self._url, response.read())
        except urllib.error.HTTPError as error:
            said = " ".join(error.read(400).decode(errors="replace").split())
            message = f"status {error.code} ({said[:200] or error.reason})"
            if error.code in _TRANSIENT:
                raise _Passing(message, _seconds(error.headers.get("Retry-After"))) from error
            hint = ""
            if error.code in (401, 403):
                hint = f"; the API key is read from {self._settings.api_key_variable}"
            raise InputError(f"{self._url}: {message}{hint}") from error
        except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
            reason = getattr(error, "reason", None) or error
            raise _Passing(f"cannot be reached ({reason})") from error


class _Passing(Exception):
    """A failure that may pass; `wait` is how many seconds the endpoint asks for, if it does."""

    def __init__(self, message: str, wait: float | None = None):
        super().__init__(message)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key would go to whatever host it names."""

    def redirect_request(self, *_args: Any) -> None:
        """Leaves the redirect as the error that its status is."""
        return None


def _seconds(retry_after: str | None) -> float | None:
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:  # a date, or nothing
        return None


def _content(url: str, answer: bytes) -> str:
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError) as error:
        start = answer[:80].decode(errors="replace")
        raise InputError(f"{url}: the answer is not JSON: {start!r}") from error
    try:
        content = parsed["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"{url}: the answer has no choices[0].message.content: {answer[:80]!r}"
        ) from error
    if not isinstance(content, str):
        raise InputError(f"{url}: choices[0].message.content={content!r} must be text")
    if not content.strip():
        raise _Passing("the answer is empty")
    return content.strip()


def _read_cache(path: Path) -> dict[str, str]:
    if not path.exists() or path.stat().st_size == 0:
        return {}
    # A run that was killed may have left half a line at the end; the next one must not join it.
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(path, len(whole))
    cache = {}
    for where, record in iter_objects(path) if whole else ():
        key, text = record.get("key"), record.get("content")
        if not isinstance(key, str) or not isinstance(text, str):
            raise InputError(f"{where}: must have the texts 'key' and 'content'; delete the line")
        cache[key] = text
    return cache
