"""What was uploaded and deleted, and what each answer may therefore hold."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, field

from tests.faults.expecting import Oracle


@dataclass(slots=True)
class _Object:
    """
    Attributes:
        contents: All that was ever sent under this name, oldest first.
        generations: The contents of the generations whose upload has returned.
        newest: The highest generation that was seen to answer.
        floor: No answer begun from now on may come from a lower generation.
        answers: Whether it was seen to answer since it was last uploaded after a delete.
        life: Raised by each delete and by each upload that may fail: from then on it may be silent.
        born: The first generation of this life, 0 before there is one.
    """

    contents: list[bytes] = field(default_factory=list)
    generations: dict[int, bytes] = field(default_factory=dict)
    newest: int = 0
    floor: int = 0
    answers: bool = False
    life: int = 0
    born: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What was known of an object when a question about it began."""

    name: str
    floor: int
    answers: bool
    life: int


class Ledger:
    """
    The history of all objects; threads may share it.

    Attributes:
        wrong: Answers that no correct system gives, in words.
        codes: The reason with which an object is expected to fail, by name.
    """

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.wrong: list[str] = []
        self.codes: dict[str, Collection[str]] = {}
        self._objects: dict[str, _Object] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Return every name that was ever used."""
        with self._lock:
            return list(self._objects)

    def upload_begins(self, name: str, data: bytes) -> None:
        """Note what is about to be sent."""
        with self._lock:
            known = self._objects.setdefault(name, _Object())
            if not known.contents or known.contents[-1] != data:
                known.contents.append(data)

    def uploaded(self, name: str, generation: int, data: bytes) -> None:
        """Note the generation that an upload made."""
        with self._lock:
            known = self._objects[name]
            known.generations[generation] = data
            known.born = known.born or generation

    def may_fall_silent(self, name: str) -> None:
        """Note that from now on nothing may answer: a delete begins, or what cannot be indexed."""
        with self._lock:
            known = self._objects.setdefault(name, _Object())
            known.life += 1
            known.answers = False
            known.born = 0

    def ask(self, name: str) -> Asked:
        """Note what is known when a question begins."""
        with self._lock:
            known = self._objects[name]
            return Asked(name, known.floor, known.answers, known.life)

    def answered(self, asked: Asked, passages: Collection[tuple[int, str]]) -> None:
        """
        Hold the answer to a question about one object against its history.

        Args:
            passages: Generation and text of all chunks that answer.
        """
        name = asked.name
        generations = {generation for generation, _ in passages}
        with self._lock:
            known = self._objects[name]
            if not generations:
                if asked.answers and known.life == asked.life:
                    self.wrong.append(f"{name}: a gap, nothing answers")
                elif known.life == asked.life and known.newest:
                    # It answered once and was taken away: that generation must not come back.
                    known.floor = known.newest + 1
                return
            contents = list(reversed(known.contents))
            newest = max(generations)
            if known.life == asked.life and 0 < known.born <= newest:
                known.answers = True
            known.newest = max(known.newest, newest)
            known.floor = max(known.floor, newest)
            exact = known.generations.get(newest)
        if len(generations) > 1:
            self.wrong.append(f"{name}: generations {sorted(generations)} answer at once")
        if min(generations) < asked.floor:
            self.wrong.append(f"{name}: back from generation {asked.floor} to {min(generations)}")
        texts = sorted(text for _, text in passages)
        # An upload that was sent twice made a generation that nobody was told of.
        candidates = [exact] if exact is not None else contents
        if not any(texts == sorted(self.oracle.expect(name, data).texts) for data in candidates):
            self.wrong.append(f"{name}: {len(texts)} chunks of {newest} are not the document")

    def answered_by_sentences(self, asked: Asked, passages: Collection[tuple[int, str]]) -> None:
        """Hold an answer's passages, which are parts of the text of one generation, against it."""
        name = asked.name
        with self._lock:
            known = self._objects[name]
            contents = list(known.contents)
            exact = dict(known.generations)
            newest = max((generation for generation, _ in passages), default=0)
            known.floor = max(known.floor, newest)
        if len({generation for generation, _ in passages}) > 1:
            self.wrong.append(f"{name}: several generations in one answer")
        for generation, text in passages:
            if generation < asked.floor:
                self.wrong.append(f"{name}: back from {asked.floor} to {generation}")
            candidates = [exact[generation]] if generation in exact else contents
            if not any(text in self.oracle.expect(name, data).whole for data in candidates):
                self.wrong.append(f"{name}: a passage that is not in generation {generation}")
