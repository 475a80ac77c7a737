"""The held-out suite: what a model can do that is not taught, item by item, with intervals."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from smem_jax.data import held_out as read
from smem_jax.data.questions import read_questions
from smem_jax.data.text import read_text
from smem_jax.errors import InputError
from smem_jax.evaluate import bootstrap, held_out_tasks
from smem_jax.models.pretrained import Tokenizer
from smem_jax.models.transformer import Transformer


@dataclasses.dataclass(frozen=True)
class Files:
    """Where the tasks are; one whose file is '' is left out.

    Attributes:
      known: questions that the base model answers right; see `data.held_out.read_known`.
      nq, nq_shots: NaturalQuestions and the examples of its prompt, as `data.questions` reads them.
      gsm8k: word problems with their solutions.
      wikitext: running text, one paragraph a line.
      mmlu: questions with lettered options.
      trivia_choices: questions with choices.
      untaught: questions like the taught ones, none of which is taught.
    """

    known: str = ""
    nq: str = ""
    nq_shots: str = ""
    gsm8k: str = ""
    wikitext: str = ""
    mmlu: str = ""
    trivia_choices: str = ""
    untaught: str = ""


TASKS = ("known", "nq", "gsm8k", "wikitext", "mmlu", "trivia_choices", "untaught")


class _Task(Protocol):
    def measure(self, model: Transformer) -> dict[str, np.ndarray]: ...


class Suite:
    """Held-out tasks for one tokenizer; a task is read when it is first measured, or by `read`.

    Attributes:
      tasks: the names of those that have a file, in the order of `TASKS`.
    """

    def __init__(
        self,
        files: Files,
        tokenizer: Tokenizer,
        limits: Mapping[str, int] | None = None,
        max_new_tokens: int = 12,
    ):
        """Reads nothing yet.

        Args:
          files: what to measure.
          tokenizer: of the models to come.
          limits: by task, how many of its items to take at most: the first ones.
          max_new_tokens: that a generated answer may have.

        Raises InputError for a limit of an unknown task or below 1.
        """
        self._files, self._tokenizer, self._max_new_tokens = files, tokenizer, max_new_tokens
        self._limits = dict(limits or {})
        for task, limit in self._limits.items():
            _check_task(task, TASKS)
            if limit < 1:
                raise InputError(f"limit {task}={limit} must be at least 1")
        self.tasks = tuple(task for task in TASKS if getattr(files, task))
        self._built: dict[str, _Task] = {}

    def read(self) -> None:
        """Reads all tasks, so that what is malformed is named before anything is measured."""
        for name in self.tasks:
            self._task(name)

    def measure(
        self, model: Transformer, tasks: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Arrays of all items by the name of the figure, float64 [num_items].

        `tasks` are measured, or all that have a file. The names are `known`, `known_nll`, `nq_f1`,
        `nq_exact`, `nq_nll`, `gsm8k_nll`, `wikitext_nll`, `mmlu_accuracy`,
        `trivia_choices_accuracy`, `untaught_exact` and `untaught_nll`; the order of the items is
        that of the file. Likelihoods are in nats per token, all else is a share of 1. Raises
        InputError, with file and line, for what is malformed, and for a task without a file.
        """
        measured: dict[str, np.ndarray] = {}
        for name in self.tasks if tasks is None else tasks:
            measured |= self._task(name).measure(model)
        return measured

    def _task(self, name: str) -> _Task:
        _check_task(name, self.tasks)
        if name not in self._built:
            self._built[name] = self._build(name)
        return self._built[name]

    def _build(self, name: str) -> _Task:
        path, tokenizer = getattr(self._files, name), self._tokenizer
        limit, new_tokens = self._limits.get(name), self._max_new_tokens
        match name:
            case "known":
                return held_out_tasks.Known(tokenizer, read.read_known(path)[:limit], new_tokens)
            case "untaught":
                return held_out_tasks.Untaught(tokenizer, read_questions(path)[:limit], new_tokens)
            case "nq":
                if not self._files.nq_shots:
                    raise InputError(
                        f"nq_shots='' must be a file, since nq={path!r} needs examples"
                    )
                shots = read_questions(self._files.nq_shots)
                questions = read_questions(path)[:limit]
                return held_out_tasks.NaturalQuestions(tokenizer, questions, shots, new_tokens)
            case "gsm8k":
                return held_out_tasks.GSM8K(tokenizer, read.read_problems(path)[:limit])
            case "wikitext":
                return held_out_tasks.RunningText(tokenizer, read_text(path), limit)
            case "mmlu":
                return held_out_tasks.MMLU(tokenizer, read.read_lettered(path)[:limit])
            case _:
                return held_out_tasks.TriviaChoices(tokenizer, read.read_choices(path)[:limit])


def _check_task(name: str, tasks: Sequence[str]) -> None:
    if name not in tasks:
        raise InputError(f"task {name!r} must be one of {', '.join(tasks) or 'no task: no files'}")


def figures(measured: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The mean of each array."""
    return {name: float(values.mean()) for name, values in measured.items()}


def summarise(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], seed: int = 0
) -> dict[str, dict[str, float]]:
    """What teaching changed, with 95 % intervals by the bootstrap over items.

    Args:
      before, after: what `Suite.measure` gave for the base and the taught model.
      seed: of the samples.

    Returns, by figure: `before` and `after`, the means; `low` and `high` of `after`; `change`,
    `change_low` and `change_high`; and, for what is a share of 1 and was not zero before, `drop`,
    `drop_low` and `drop_high`: the part of it that was lost, 0.11 for 11 %. Raises ValueError where
    the two have not the same figures of the same items.
    """
    if before.keys() != after.keys():
        raise ValueError(
            f"figures before {sorted(before)} and after {sorted(after)} must be the same"
        )
    return {name: _summary(name, before[name], after[name], seed) for name in before}


def _summary(name: str, before: np.ndarray, after: np.ndarray, seed: int) -> dict[str, float]:
    statistics = {"change": bootstrap.change, "drop": bootstrap.relative_drop}
    if name.endswith("nll") or not before.any():
        del statistics["drop"]
    mean_before, mean_after = before.mean(), after.mean()
    low, high = bootstrap.interval(after, seed=seed)
    summary = {"before": mean_before, "after": mean_after, "low": low, "high": high}
    for key, statistic in statistics.items():
        low, high = bootstrap.paired(before, after, statistic, seed=seed)
        summary[key] = statistic(mean_before, mean_after)
        summary |= {f"{key}_low": low, f"{key}_high": high}
    return {key: float(value) for key, value in summary.items()}
