"""The commands of `smem` that teach single facts and ask about them."""

import argparse
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smem_jax.errors import InputError, print_error

_QUIT, _CLEAR = "/quit", "/clear"


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command `ask` by means of `smem_jax.cli`."""
    ask = add("ask", _ask, "Ask a taught model, or talk with it where no question is given.")
    ask.add_argument(
        "--workdir", type=Path, metavar="DIR", help="of a run, or that patches were applied to"
    )
    ask.add_argument(
        "--patch", action="append", default=[], type=Path, metavar="FILE", help="may be given again"
    )
    ask.add_argument(
        "--model", default="", metavar="MODEL", help="the base model, where it is elsewhere by now"
    )
    ask.add_argument(
        "--without-memory", action="store_true", help="what it says without its memory, too"
    )
    ask.add_argument(
        "--show-slots", action="store_true", help="which taught slots each token reads"
    )
    ask.add_argument(
        "--chat", action="store_true", help="in the model's chat template, not in a Q: A: frame"
    )
    ask.add_argument("--max-tokens", type=int, default=48, metavar="N", help="of an answer; 48")
    ask.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="0, the likeliest, if not given"
    )
    ask.add_argument("--top-p", type=float, default=1.0, metavar="P", help="of the probability")
    ask.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn at random")
    ask.add_argument("words", nargs="*", metavar="QUESTION", help="or one a line on standard input")


def teach_facts(args: argparse.Namespace) -> None:
    """Teaches `--fact`s to the model of a directory, as one more patch that is applied there."""
    if args.config is not None or args.words or args.overwrite:
        raise InputError("--fact goes with --workdir and --model alone")
    from smem_jax import api, atomic, user_cache
    from smem_jax.models import pretrained
    from smem_jax.patch import directory

    user_cache.keep_programs()
    if args.workdir.exists() and not args.workdir.is_dir():
        raise InputError(f"--workdir {args.workdir} is a file; a directory is right")
    atomic.check_writable(args.workdir)
    there = directory.paths(args.workdir)
    base = args.model or directory.base(args.workdir)
    if not base:
        base = directory.of(args.workdir)[0].about.base if there else pretrained.SMOLLM2
    model = api.load(base, there)
    taught = []
    try:
        for question, answer in args.fact:
            model.teach(question, answer)
            taught.append(question)
    finally:  # what was taught before a mistake, or before someone lost patience, is kept
        if taught:
            path = model.save_into(args.workdir)
            print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    for question in taught:
        print(f"{question} {model.ask(question)}")


def _ask(args: argparse.Namespace) -> None:
    questions = args.words
    is_talk = not questions and sys.stdin.isatty()
    if not questions and not is_talk:
        questions = [line.strip() for line in sys.stdin if line.strip()]
    if args.workdir is None and not args.patch:
        raise InputError("give --workdir DIR of a run or --patch FILE, or both")
    if not questions and not is_talk:
        raise InputError("no question given; smem ask --workdir DIR QUESTION")
    from smem_jax import user_cache

    user_cache.keep_programs()
    from smem_jax.evaluate import ask
    from smem_jax.evaluate.sampling import Sampling

    sampling = Sampling(args.temperature, args.top_p, args.seed, args.max_tokens)
    sampling.check()
    taught = ask.restore(args.workdir, args.patch, args.model)
    one_by_one = args.temperature or args.show_slots or args.without_memory or args.chat
    if len(questions) > 1 and not one_by_one:
        for answer in ask.ask(taught, questions, args.max_tokens):
            print(answer)
        return
    voices = {"with memory: ": ask.Conversation(taught, sampling, chat=args.chat)}
    if args.without_memory:
        voices["without: "] = ask.Conversation(taught, sampling, False, args.chat)
    if is_talk:
        print(f"{_CLEAR} forgets what was said so far, {_QUIT} ends")
        questions = _typed(voices)
    for question in questions:
        try:
            _answer(args, taught, voices, question)
        except InputError as error:  # such as a question that is too long
            if not is_talk:
                raise
            print_error(error)
        if not is_talk:
            for conversation in voices.values():
                conversation.clear()


def _answer(args: argparse.Namespace, taught: Any, voices: dict[str, Any], question: str) -> None:
    """Prints what each voice answers, as it is made, and what the tokens read."""
    from smem_jax.evaluate import ask

    prompt = next(iter(voices.values())).prompt_of(question)
    for voice, conversation in voices.items():
        if len(voices) > 1:
            print(voice, end="")
        for piece in conversation.answer(question):
            print(piece, end="", flush=True)
        print()
    if args.show_slots:
        print(ask.slots_table(taught, prompt))


def _typed(voices: dict[str, Any]) -> Any:
    """Questions from the terminal, until the end."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # the keys that move in a line and call back earlier ones
    while True:
        try:
            question = input("> ").strip()
        except EOFError:
            print()
            return
        if question == _QUIT:
            return
        if question == _CLEAR:
            for conversation in voices.values():
                conversation.clear()
        elif question:
            yield question
