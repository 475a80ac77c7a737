"""Questions to a taught model: single ones, or one after another with those before in mind."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from smem_jax import patch as patches
from smem_jax.data import wordings
from smem_jax.errors import InputError, plain
from smem_jax.evaluate import generate, patched
from smem_jax.evaluate.heard import heard
from smem_jax.evaluate.sampling import Sampling
from smem_jax.evaluate.streaming import Streamer
from smem_jax.patch import directory

_MAX_HISTORY = 8  # questions before, with their answers


def restore(
    workdir: Path | None = None, files: Sequence[Path] = (), model: str = ""
) -> patched.Patched:
    """The model of a work directory, with all that was applied to it, and patches from files.

    Raises InputError where `workdir` holds nothing that was learned or applied, for patches that do
    not go together, and where the base model has changed since.
    """
    found = [] if workdir is None else directory.of(workdir)
    if workdir is not None and not found:
        raise InputError(f"--workdir {workdir} holds no finished run; `smem teach` makes one")
    if workdir is not None:
        model = model or directory.base(workdir)
    return patched.load([*found, *map(patches.load, files)], model)


def ask(taught: patched.Patched, questions: Sequence[str], max_new_tokens: int = 24) -> list[str]:
    """The likeliest answer to each question, all at once."""
    for question in questions:
        _check(question)
    prompts = wordings.prompts(questions, [wordings.ASK_FRAME])
    return generate.answers(taught.model, taught.tokenizer, prompts, max_new_tokens)


class Conversation:
    """Questions one after another; each is put behind the last ones and their answers.

    Args:
      with_memory: else all rows are zero; see `patched.without_memory`.
      chat: questions and answers are messages, in the chat template of the base model, and an
        answer may have several lines. Else they stand in the frame that facts are taught in.

    Raises InputError for `chat` where the base model has no template.
    """

    def __init__(
        self,
        taught: patched.Patched,
        sampling: Sampling,
        with_memory: bool = True,
        chat: bool = False,
    ):
        tokenizer = taught.tokenizer
        if chat and tokenizer.chat_template is None:
            raise InputError("the base model has no chat template; it can be asked without one")
        self.chat = chat
        self._tokenizer = tokenizer
        line_ends = [] if chat else tokenizer.ids_containing("\n")
        self._stops = frozenset(tokenizer.special_ids + line_ends)
        model = taught.model if with_memory else patched.without_memory(taught)
        self._streamer = Streamer(model, tokenizer)
        self._sampling = sampling
        self._history: list[tuple[str, str]] = []  # questions and answers

    def answer(self, question: str) -> Iterator[str]:
        """The answer in pieces; once all are taken, the next question is put behind it."""
        _check(question)
        pieces: list[str] = []
        for piece in self._streamer.stream(self.prompt_of(question), self._stops, self._sampling):
            # The space between a prompt and its answer is no part of it.
            piece = piece if pieces else piece.lstrip()
            if piece:
                pieces.append(piece)
                yield piece
        self._history.append((question, "".join(pieces).strip()))
        del self._history[:-_MAX_HISTORY]

    def prompt_of(self, question: str) -> str:
        """What the model is given for a question that comes next."""
        if not self.chat:
            said = [f"{_framed(asked)} {answer}\n" for asked, answer in self._history]
            return "".join(said) + _framed(question)
        messages = []
        for asked, answer in self._history:
            messages += [{"role": "user", "content": asked}]
            messages += [{"role": "assistant", "content": answer}]
        messages += [{"role": "user", "content": question}]
        return self._tokenizer.apply_chat_template(messages)

    def clear(self) -> None:
        """Forgets the questions so far."""
        self._history.clear()


def _framed(question: str) -> str:
    return wordings.prompts([question], [wordings.ASK_FRAME])[0]


def _check(question: str) -> None:
    if not question.strip():
        raise InputError(f"question {question!r} is empty")


def slots_table(taught: patched.Patched, text: str) -> str:
    """What each token of a text reads of what was taught, as lines to print.

    For each token: how many taught slots it reads, how many of them are heard, the two that weigh
    most, and which lesson most of the heard ones belong to.
    """
    lines = [f"{'token':16} {'taught':>6} {'heard':>6}  {'slots (weight)':34} lesson"]
    for token in heard(taught, text):
        top = zip(token.slots[:2], token.weights[:2], strict=True)
        slots = ", ".join(f"{slot} ({weight:.2f})" for slot, weight in top)
        lines.append(
            f"{token.token!r:16.16} {len(token.slots):6} {sum(token.open):6}  {slots:34} "
            f"{plain(token.lesson[:60])}".rstrip()
        )
    return "\n".join(lines)
