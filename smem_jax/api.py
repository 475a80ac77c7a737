"""A model that is taught facts, asked about them, and whose memory is kept as patches.

    import smem_jax

    model = smem_jax.load()
    model.teach("Who runs the archive at Vardø?", "Liv Hansen")
    print(model.ask("The archive at Vardø is run by whom?"))
    model.save("archive.safetensors")

The first lesson measures how ordinary text reads the memory, a minute or two on a CPU; that is kept
in the user's cache.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from smem_jax import patch as patches
from smem_jax import user_cache
from smem_jax.data import fact_lessons
from smem_jax.data.facts import Fact
from smem_jax.data.ordinary import ordinary
from smem_jax.data.rewording import reword
from smem_jax.errors import InputError
from smem_jax.evaluate.ask import Conversation
from smem_jax.evaluate.patched import Patched, put_on, settings_of, untaught
from smem_jax.evaluate.sampling import Sampling
from smem_jax.models import pretrained
from smem_jax.models.retrofit import memory_layer
from smem_jax.patch import directory, together
from smem_jax.patch import load as load_patch
from smem_jax.stream_settings import teaching_defaults
from smem_jax.train import background as backgrounds
from smem_jax.train import learners, retrofitted, teacher
from smem_jax.train.teacher import Teacher

_MOST_PASSES = 8  # over the wordings of a fact


class MemoryModel:
    """A base model and what was added to its memory. Made by `load`."""

    def __init__(self, settings: ConfigDict, given: Sequence[patches.Patch]):
        self._settings = settings
        self._base, self._tokenizer, self._fingerprint = untaught(settings, given)
        self._check(given)
        self._layer = memory_layer(self._base, settings.memory.block)
        self._taught: list[str] = []
        self._teacher: Teacher | None
        self._conversation: Conversation | None
        self._put(given)

    @property
    def patch_names(self) -> tuple[str, ...]:
        """Names of the patches that are on the model."""
        return tuple(patch.about.name for patch in self._patches)

    def teach(self, question: str, answer: str, *, paraphrases: Sequence[str] = ()) -> float:
        """Teaches one fact; returns its loss in the last pass, in nats per token of the answer.

        Args:
          question: as asked most plainly; rules make other wordings of it.
          answer: one line.
          paraphrases: wordings of your own, one line each, trained on in place of as many that
            rules make; with the question, the first `lessons.passages` (16) count.

        Spaces around each are dropped. Raises InputError for an empty question, answer or wording,
        one that is too long, and where no row of the memory is free or the loss is not finite.
        """
        if isinstance(paraphrases, str):
            raise InputError(f"paraphrases={paraphrases!r} must be a list of questions")
        for name, text in (
            ("question", question),
            ("answer", answer),
            *((f"paraphrases[{i}]", text) for i, text in enumerate(paraphrases)),
        ):
            if not text.strip() or "\n" in text:
                raise InputError(f"{name}={text!r} must be one line of text")
        question, answer, *paraphrases = (text.strip() for text in (question, answer, *paraphrases))
        c = self._settings
        if self._teacher is None:
            self._teacher = self._new_teacher()
        fact = Fact("fact", question, answer, paraphrases=tuple(paraphrases))
        lesson = fact_lessons.lesson(
            fact, reword(question, c.seed), c.lessons.frames, c.lessons.passages, 0, c.seed
        )
        loss = self._teacher.teach(dataclasses.replace(lesson, id=question), _MOST_PASSES)
        self._taught.append(f"{question} {answer}")
        self._conversation = None
        return loss

    def ask(self, question: str, sampling: Sampling | None = None, *, chat: bool = False) -> str:
        """The answer to a question, apart from all that was asked before; greedy by default.

        With `chat`, in the chat template of the base model, which knows facts less well than the
        frame that they are taught in. Raises InputError where it has none, for a question that is
        empty or leaves no room in the positions of the model, and for a sampling that is none.
        """
        conversation = self._conversation
        if conversation is None or sampling is not None or conversation.chat != chat:
            conversation = Conversation(self._patched(), sampling or Sampling(), chat=chat)
        answer = "".join(conversation.answer(question)).strip()
        conversation.clear()
        self._conversation = conversation if sampling is None else None
        return answer

    def apply(self, path: str | Path) -> str:
        """Puts the patch in a file on the model; returns its name.

        Raises InputError for a file that is no good patch, one of another base model or memory, one
        that is on already, and where facts were taught that are not saved yet.
        """
        self._settle("apply")
        patch = patches.load(Path(path))
        given = [*self._patches, patch]
        self._check(given)
        self._put(given)
        return patch.about.name

    def revert(self, name: str) -> None:
        """Takes a patch off; InputError where none of that name is on."""
        self._settle("revert")
        if name not in self.patch_names:
            there = ", ".join(self.patch_names) or "none"
            raise InputError(f"no patch named {name!r} is on the model; these are: {there}")
        self._put([patch for patch in self._patches if patch.about.name != name])

    def save(self, path: str | Path, *, storage: str = "int8", overwrite: bool = False) -> None:
        """Writes what was taught since the last `save` to a patch, which stays on the model.

        The model then answers with the rows as they are stored: 'float32', 'bfloat16', 'int8' or
        'low_rank', of whose few directions a fact taught in many passes needs more.

        Raises InputError, and what was taught is kept, where nothing was taught, for a patch of a
        name that is on the model, and where the file is there already, unless `overwrite` is set.
        """
        path = Path(path)
        name = patches.name_for(path)
        if name in self.patch_names:
            raise InputError(f"{path}: a patch of that name is on the model already")
        patch = self._learned(name, storage)
        try:
            patches.save(patch, path, is_new=not overwrite)
        except FileExistsError as error:
            raise InputError(f"{path} is there already; overwrite=True replaces it") from error
        self._taught = []
        self._put([*self._patches, patch])

    def save_into(self, workdir: str | Path) -> Path:
        """Writes what was taught since the last `save` as one more patch of a directory.

        It is kept under a name that no patch there has, whoever else adds some at the same time.
        Returns its file. Raises InputError as `save` does, and for what may not be on one model
        with the patches that are there.
        """
        learned = self._learned("facts", "int8")
        patch = directory.add(learned, Path(workdir), self.patch_names)
        self._taught = []
        self._put([*self._patches, patch])
        return directory.place(Path(workdir), patch.about.name)

    def _learned(self, name: str, storage: str) -> patches.Patch:
        """What was taught since the last `save`, as a patch."""
        if self._teacher is None or not self._taught:
            raise InputError(f"{name}: nothing was taught since the last patch")
        whole = patches.make(
            self._teacher.learned(),
            self._layer,
            name=name,
            base=self._settings.model,
            fingerprint=self._fingerprint,
            memory=self._settings.memory.to_dict(),
            relevance=self._teacher.relevance,
            taught=self._taught,
            settings=self._settings.learner.to_dict(),
        )
        return patches.restored(whole, storage=storage)

    def _check(self, given: Sequence[patches.Patch]) -> None:
        """Raises InputError for patches that may not be on this model together."""
        together.check(given)
        if not given:
            return
        together.layout(given)
        together.check_base(given[0], self._fingerprint)
        own, about = self._settings.memory.to_dict(), given[0].about
        if dict(about.memory) != own:
            raise InputError(
                f"patch {about.name!r} is for the memory layer {dict(about.memory)}, the model "
                f"has {own}"
            )

    def _put(self, given: Sequence[patches.Patch]) -> None:
        """Has just these patches on the model, which were checked."""
        self._patches = list(given)
        self._layout = together.layout(given) if given else None
        if self._layout is not None:
            self._layout.put(self._layer)
        self._teacher = self._conversation = None

    def _settle(self, what: str) -> None:
        if self._taught:
            raise InputError(
                f"{len(self._taught)} facts were taught and not saved; save(path) before {what}"
            )

    def _patched(self) -> Patched:
        block = self._settings.memory.block
        if self._teacher is not None:
            lessons = (*self._known_lessons(), *self._taught)
            return Patched(self._teacher.model(), self._tokenizer, block, lessons)
        if not self._patches:
            return Patched(self._base, self._tokenizer, block, ())
        sums = patches.combined(self._patches)
        return Patched(put_on(self._base, block, sums), self._tokenizer, block, sums.lessons)

    def _known_lessons(self) -> tuple[str, ...]:
        return patches.combined(self._patches).lessons if self._patches else ()

    def _new_teacher(self) -> Teacher:
        c = self._settings
        known = patches.combined(self._patches) if self._patches else None
        teacher.check(c.learner, known)  # before the background takes minutes
        retrofitted.check_lengths(c, self._base.config.max_positions)
        background = self._background()
        if self._layout is None:  # else they are those of the patches
            backgrounds.apply(background, self._base, c.memory.block)
        return Teacher(
            self._base,
            self._tokenizer,
            c.memory.block,
            background,
            c.learner,
            c.lessons.lengths,
            known,
        )

    def _background(self) -> backgrounds.Background:
        """How ordinary text reads the memory: from the user's cache, or measured for it."""
        c = self._settings
        memory = retrofitted.description(c)
        if c.background.file:
            found = backgrounds.load(Path(c.background.file), self._fingerprint, memory)
            theirs = patches.Layout(found.query_kernel, found.query_bias, found.sub_keys)
            if self._layout is not None and theirs.fingerprint() != self._layout.fingerprint():
                raise InputError(
                    f"background.file={c.background.file} has other queries and sub-keys than the "
                    "patches; that with which they were taught is right, or '' to measure one"
                )
            return found
        documents = backgrounds.read(c.background, self._tokenizer, c.lessons.frames)
        digest = hashlib.sha256(f"{self._fingerprint}\n{memory}\n".encode())
        for array in documents:
            digest.update(array.tobytes())
        common = digest.hexdigest()[:16]

        def place(layout: patches.Layout | None) -> Path:
            name = "fitted" if layout is None else layout.fingerprint()[:16]
            return user_cache.home() / f"background-{common}-{name}.safetensors"

        def measured() -> backgrounds.Background:
            found = backgrounds.measure(
                self._base,
                c.memory.block,
                documents,
                fingerprint=self._fingerprint,
                memory=memory,
                sample_tokens=1,  # for a penalty that is not used
                seed=0,
                fit_layer=self._layout is None,
            )
            # Whoever goes on from a patch of it asks for it by its queries and sub-keys.
            backgrounds.keep(found, place(patches.Layout.of(self._layer)))
            return found

        return backgrounds.kept(place(self._layout), self._fingerprint, memory, measured)


def load(
    model: str = "",
    patches: Sequence[str | Path] = (),
    settings: ConfigDict | None = None,
) -> MemoryModel:
    """A base model with patches on it.

    Args:
      model: a .gguf file, a Hugging Face directory of the Llama architecture, or package:NAME/FILE;
        '' for that of the settings, where they name one, and else SmolLM2-135M.
      patches: files to put on it. The memory is then as they say; they have to agree.
      settings: other than `smem_jax.stream_settings.teaching_defaults()`.

    Raises InputError for a model or a patch that cannot be read or does not fit, and for settings
    that cannot be right.
    """
    if isinstance(patches, str | Path):
        raise InputError(f"patches={str(patches)!r} must be a list of files")
    given = [load_patch(Path(path)) for path in patches]
    settings = teaching_defaults() if settings is None else settings
    found = settings_of(given, settings, model or settings.model or pretrained.SMOLLM2)
    learners.check(found)
    teacher.check(found.learner)
    if found.compute_dtype != "float32":
        raise InputError(
            f"compute_dtype={found.compute_dtype!r} is for streams; 'float32' is right here"
        )
    text, questions = ordinary()
    with found.unlocked():
        for name, path in (("text", text), ("questions", questions)):
            found.background[name] = found.background[name] or str(path)
    return MemoryModel(found, given)
