"""Augmentations written by a language model behind an OpenAI-compatible endpoint."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tqdm

from smem_jax.data.active_reading.augmenter import Encoder, first_sentences
from smem_jax.data.active_reading.chat import Chat, ChatSettings
from smem_jax.errors import InputError

# In our own words; the two steps are the paper's: first the strategies, then each of them applied.
STRATEGIES_PROMPT = """\
Someone has to study the text below and later recall every detail of it without looking.
Suggest {number} different ways to study this very text: ways that suit what it is about, so that \
together they cover all its names, numbers, dates and relations. One line each, without numbering, \
without introduction. Do not carry them out.

# {title}

{text}"""
APPLY_PROMPT = """\
Carry out a way of studying on a text.

The way of studying: {strategy}

Write down the result only, so that it can be understood without the text: name the subject \
instead of saying 'it' or 'the text'. State nothing that the text does not say. \
At most {words} words.

# {title}

{text}"""
_NUM_STRATEGIES = 8
_ROUNDS = 3  # a model may write the same text twice, or one that cannot be used
_MARKER = re.compile(r"^\s*(?:[-*•#]+|\(?\d+[.)])\s*")


class Endpoint:
    """Active Reading (arXiv 2508.09494) with a model at an endpoint.

    The model first names ways to study the chunk, without knowing what will be asked; then each way
    is carried out, again and again with other seeds, until there are enough texts. It is up to the
    model that the texts are true to the chunk.

    Args:
      settings: of the endpoint.
      cache: file of JSON lines that keeps the answers; see `chat.Chat`.
      tokenizer: counts the tokens of a text.
      seq_len: tokens that a text may have; longer ones lose their last sentences.
      concurrency: calls at a time.
    """

    def __init__(
        self,
        settings: ChatSettings,
        cache: str | Path,
        tokenizer: Encoder,
        seq_len: int,
        concurrency: int = 8,
    ):
        self._chat = Chat(settings, cache)
        self._tokenizer = tokenizer
        self._seq_len = seq_len
        self._concurrency = concurrency

    def augment(self, chunk_title: str, chunk_text: str, count: int, seed: int) -> list[str]:
        """`count` distinct texts of at most `seq_len` tokens.

        Raises InputError where the model does not write so many or names no strategies, and what
        `Chat.ask` raises.
        """
        strategies = self._strategies(chunk_title, chunk_text, seed)
        # About three words in four tokens; numbers take more.
        words = max(20, self._seq_len // 2)
        texts: dict[str, None] = {}

        def apply(call: int) -> str:
            prompt = APPLY_PROMPT.format(
                strategy=strategies[call % len(strategies)],
                words=words,
                title=chunk_title,
                text=chunk_text,
            )
            answer = self._chat.ask(prompt, seed + call)
            return first_sentences(answer, self._tokenizer, self._seq_len)

        calls = 0
        with ThreadPoolExecutor(self._concurrency) as pool:
            for _ in range(_ROUNDS):
                missing = count - len(texts)
                numbers = range(calls, calls + missing)
                answers = tqdm.tqdm(
                    pool.map(apply, numbers), desc=chunk_title, total=missing, delay=2, leave=False
                )
                texts |= dict.fromkeys(text for text in answers if text)
                calls += missing
        if len(texts) < count:
            raise InputError(
                f"{chunk_title}: {calls} answers of the model gave {len(texts)} distinct texts of "
                f"at most {self._seq_len} tokens, and {count} are asked for"
            )
        return list(texts)

    def _strategies(self, title: str, text: str, seed: int) -> list[str]:
        prompt = STRATEGIES_PROMPT.format(number=_NUM_STRATEGIES, title=title, text=text)
        answer = self._chat.ask(prompt, seed)
        lines = [_MARKER.sub("", line).strip() for line in answer.split("\n")]
        # A short line is a heading or an introduction.
        strategies = [line for line in lines if len(line.split()) >= 3 and not line.endswith(":")]
        if not strategies:
            raise InputError(f"{title}: the model named no ways to study, but said {answer[:80]!r}")
        return strategies
