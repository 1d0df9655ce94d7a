"""
Which file of tests a process of pytest-xdist runs next: the longest first, a running system again.

A run lasts as long as its last file, so what takes long begins early. A system takes ten seconds
of processor time to start and some to poll as long as it runs, so the files that share one stay
in the process that has it until the others have nothing else to do.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

# Files that ask for `system`. One that is missing here takes longer, and no harm is done.
_ON_THE_SYSTEM = (
    "tests/browser/",
    "tests/acceptance/test_agents.py",
    "tests/acceptance/test_churn.py",
    "tests/acceptance/test_client.py",
    "tests/acceptance/test_document_events.py",
    "tests/acceptance/test_event_path.py",
    "tests/acceptance/test_fake_gcs_event.py",
    "tests/acceptance/test_load.py",
    "tests/security/test_error_bodies.py",
    "tests/security/test_logs.py",
)
# By far the longest files, the longest first; the rest follow by their number of tests.
_LONGEST = (
    "tests/containers/test_images.py",
    "tests/acceptance/test_make_run.py",
    "tests/integration/test_export_model.py",
    "tests/integration/test_protocol_stateful.py",
    "tests/faults/test_faults.py",
    "tests/acceptance/test_model_change.py",
    "tests/acceptance/test_benchmark.py",
    "tests/integration/test_openapi.py",
    "tests/infra/test_policies.py",
    "tests/integration/test_cross_encoder.py",
    "tests/integration/test_reader.py",
    "tests/acceptance/test_observability.py",
    "tests/acceptance/test_googles_emulator.py",
    "tests/acceptance/test_gemini_path.py",
    "tests/acceptance/test_install.py",
    "tests/unit/test_parsing_fuzz.py",
)


class LongestFirst(LoadFileScheduling):  # type: ignore[misc]  # it ships no annotations
    """Give a process whole files, in an order of ours."""

    _system_is_at: WorkerController | None = None

    def _assign_work_unit(self, node: WorkerController) -> None:
        file = min(self.workqueue, key=lambda file: self._rank(file, node))
        if file.startswith(_ON_THE_SYSTEM) and self._system_is_at is None:
            self._system_is_at = node
        self.workqueue.move_to_end(file, last=False)
        super()._assign_work_unit(node)

    def schedule(self) -> None:
        """
        Give each process two files, or say that there are no more.

        A process runs a test when it knows the next one: one that took a crashed one's place and
        had a single test would wait for ever (pytest-xdist 3.8, its issue 1327).
        """
        super().schedule()
        for node in self.nodes:
            self._reschedule(node)

    def remove_node(self, node: WorkerController) -> str | None:
        """
        Give the others what a process that ended has not run, and return the test that it ended in.

        pytest-xdist 3.8 gives them what is done, too, and waits for it for ever (issue 1323); and
        the test that killed the process, which kills the next.
        """
        if node is self._system_is_at:
            self._system_is_at = None
        files = self.assigned_work.pop(node)
        ended_in: str | None = next(
            (test for tests in files.values() for test, is_done in tests.items() if not is_done),
            None,
        )
        if ended_in is None:
            return None
        files[self._split_scope(ended_in)][ended_in] = True
        self.workqueue.update(
            {file: tests for file, tests in files.items() if not all(tests.values())}
        )
        for other in self.nodes:
            self._reschedule(other)
        return ended_in

    def _rank(self, file: str, node: WorkerController) -> tuple[int, int]:
        if file.startswith(_ON_THE_SYSTEM):
            return (0 if self._system_is_at in (None, node) else 2, 0)
        return (1, _LONGEST.index(file) if file in _LONGEST else len(_LONGEST))
