"""Prefect's task runners, opened for one run: threads, processes, Dask and Ray.

Tasks are given to them when their inputs are there, so that none holds a worker to wait. They
differ in how running tasks are stopped, and in what happens when a worker is killed: Dask and
Ray send its task to another one; a pool of processes is broken as a whole and made anew.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.context import FlowRunContext
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from pipeline.processes import Stop, ask_for_death_signal
from pipeline.supervise import Options
from storage_schemas.errors import ParameterError
from workflows.runners import Runner

RENEWALS = 3  # pools lost in one run; as often as Dask and Ray try a task again


class Workers:
    """Threads of the run itself: those of the flow's own runner.

    Attributes
    ----------
    near : bool
        Whether tasks share memory with the run, and tell it themselves how they go on.
    stop_signal : Stop or None
        What a job takes along to hear of a stop.
    """

    near = True

    def __init__(self, options: Options) -> None:
        self.stop_signal: Stop | None = threading.Event()
        self.slots: AbstractContextManager[Any] = threading.Semaphore(options.workers)
        self.runner: Any = flow_runner()

    def submit(
        self, task: Any, parameters: Mapping[str, Any], dependencies: Mapping[str, set[Any]]
    ) -> Any:
        """Start a task; `dependencies` are drawn in Prefect and not waited for."""
        return self.runner.submit(
            task, parameters=dict(parameters), dependencies=dict(dependencies)
        )

    def renew(self, future: Any) -> bool:
        """Called when a task was lost with its worker; whether it may be submitted again."""
        return False

    def stop(self, futures: Iterable[Any]) -> None:
        """Have running tasks end their children; those not begun never will."""
        assert isinstance(self.stop_signal, threading.Event)
        self.stop_signal.set()


def flow_runner() -> Any:
    """The runner of the flow at hand, which has threads."""
    context = FlowRunContext.get()
    assert context is not None
    return context.task_runner


class _Elsewhere(Workers):
    """Workers in processes of their own."""

    near = False

    def __init__(self, runner: TaskRunner[Any], stop_signal: Stop | None) -> None:
        self.runner, self.stop_signal, self.slots = runner, stop_signal, nullcontext()


class _Processes(_Elsewhere):
    """A pool of processes; they hear of a stop, or of our death, by a pipe that is closed."""

    def __init__(self, options: Options, stack: ExitStack) -> None:
        self._workers, self._stack = options.workers, stack
        self._receiver, self._line = Pipe(duplex=False)
        stack.callback(self._receiver.close)
        stack.callback(self._line.close)
        self._pools: dict[UUID, Any] = {}
        self._renewals = 0
        super().__init__(self._open(), _HungUp())

    def _open(self) -> Any:
        return self._stack.enter_context(
            ProcessPoolTaskRunner(
                max_workers=self._workers, initializer=_begin, initargs=(self._receiver,)
            )
        )

    def submit(
        self, task: Any, parameters: Mapping[str, Any], dependencies: Mapping[str, set[Any]]
    ) -> Any:
        future = super().submit(task, parameters, dependencies)
        self._pools[future.task_run_id] = self.runner
        return future

    def renew(self, future: Any) -> bool:
        if self._pools.pop(future.task_run_id) is self.runner:
            if self._renewals == RENEWALS:
                return False
            self._renewals += 1
            self.runner = self._open()
        return True

    def stop(self, futures: Iterable[Any]) -> None:
        self._line.close()


_line: Connection | None = None


def _begin(receiver: Connection) -> None:
    """First thing in a process of the pool; a terminal's Ctrl-C is for the run."""
    global _line
    _line = receiver
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ask_for_death_signal()


class _HungUp:
    """Set once the run has closed its end of the pipe, or is dead."""

    def is_set(self) -> bool:
        return self.wait(0)

    def wait(self, timeout: float) -> bool:
        return _line is not None and _line.poll(timeout)


class _Dask(_Elsewhere):
    """Workers of Dask; they stop when the scheduler says that nobody wants their task."""

    def __init__(self, runner: Runner, options: Options, stack: ExitStack) -> None:
        from prefect_dask.task_runners import DaskTaskRunner

        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # our error says it

        cluster = {
            "n_workers": options.workers,
            "threads_per_worker": 1,
            "memory_limit": 0,  # the memory is the children's; a paused worker helps nobody
            "dashboard_address": None,
            "silence_logs": logging.CRITICAL,
        }
        made = (
            DaskTaskRunner(address=runner.address)
            if runner.address
            else DaskTaskRunner(cluster_kwargs=cluster)
        )
        super().__init__(stack.enter_context(made), _Unwanted())
        with _interrupts_blocked():  # inherited by what is started now
            self.runner.client  # noqa: B018 - opens the cluster

    def stop(self, futures: Iterable[Any]) -> None:
        self.runner.client.cancel([future.wrapped_future for future in futures])


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A terminal tells every process of a Ctrl-C; it is for the run, which ends the workers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Unwanted:
    """Set in a worker of Dask once its task is cancelled; also if the run has died."""

    def is_set(self) -> bool:
        from distributed import get_worker

        worker = get_worker()
        task = worker.state.tasks.get(worker.get_current_task())
        return task is None or task.state == "cancelled"

    def wait(self, timeout: float) -> bool:
        time.sleep(timeout)
        return self.is_set()


class _Ray(_Elsewhere):
    """Workers of Ray, which interrupts a task as Ctrl-C would, and ends it with its run."""

    def __init__(self, runner: Runner, options: Options, stack: ExitStack) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if runner.address and (Path.home() / ".ray" / "auth_token").exists():
            os.environ.setdefault("RAY_AUTH_MODE", "token")  # as `ray start` does by itself
        from prefect_ray.task_runners import RayTaskRunner

        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if runner.address is None:
            settings |= {"num_cpus": options.workers, "include_dashboard": False}
        # "local" is always a new one; without it Ray looks for any that was started here.
        made = RayTaskRunner(address=runner.address or "local", init_kwargs=settings)
        super().__init__(stack.enter_context(made), None)

    def stop(self, futures: Iterable[Any]) -> None:
        import ray

        for future in futures:
            ray.cancel(future.wrapped_future)


_HINTS = {
    "dask": "start one with `dask scheduler` and `dask worker`",
    "ray": "start one with `ray start --head`; it shares ~/.ray/auth_token with this machine, "
    "or RAY_AUTH_MODE=disabled is set for both",
}


@contextmanager
def opened(runner: Runner, options: Options) -> Iterator[Workers]:
    """Workers for the flow run at hand, ended in the end; inside of a flow.

    Raises
    ------
    ParameterError
        If nothing answers at the runner's address.
    """
    with ExitStack() as stack:
        try:
            workers = _open(runner, options, stack)
        except (OSError, RuntimeError) as error:
            if runner.address is None:
                raise
            raise ParameterError(
                f"no {runner.kind.capitalize()} cluster lets us in at {runner.address} "
                f"({error}); {_HINTS[runner.kind]}"
            ) from error
        yield workers


def _open(runner: Runner, options: Options, stack: ExitStack) -> Workers:
    if runner.kind == "threads":
        return Workers(options)
    if runner.kind == "processes":
        return _Processes(options, stack)
    if runner.kind == "dask":
        return _Dask(runner, options, stack)
    return _Ray(runner, options, stack)
