"""Pool of the workers of a Dask cluster: machines that come and go, as their deployer likes.

The pool itself chooses the worker of each trial, so that it knows where every trial is: a worker is asked for its versions
before its first trial, and what ran on one that has gone runs on another.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import pickle
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from tieless._files import is_file
from tieless._imports import try_import
from tieless.data.loading import files
from tieless.errors import DataError, StudyError
from tieless.own import Code
from tieless.study.running import remote
from tieless.study.running.carrying import Carrying
from tieless.study.running.events import Epoch, Finished, Notice
from tieless.study.running.pool import Died, Left, PoolEvent, Saved
from tieless.study.running.processes import over, pipe
from tieless.study.running.training import run_trial
from tieless.study.running.worker import RunTrial
from tieless.study.trial import EpochRecord, Result, Trial

Future = Any
"""Future of Dask, whose types are not complete."""

_LOOK = 1.0
"""Seconds from one look at the cluster's workers to the next."""
_ANSWER = 10.0
"""Seconds in which the scheduler has to answer."""
_SLACK = 60.0
"""Seconds that a worker has, beyond a trial's limit, to say that the limit is over."""
_ALL_REFUSED = 30.0
"""Seconds to wait for another worker if each that is there is refused."""


@dataclass(slots=True)
class _Node:
    """Worker of the cluster.

    Args:
        address: Address of the worker.
        threads: Number of its threads, each of which runs one trial.
        slots: Number of trials that it may run at a time; 0 until its versions are known.
        gpus: Number of its GPUs.
        trials: Trials that it runs, each at the number of its slot.
        refused: Reason why it gets no trials.
    """

    address: str
    threads: int
    slots: int = 0
    gpus: int = 0
    trials: dict[int, str] = field(default_factory=dict[int, str])
    refused: str | None = None


@dataclass(slots=True)
class _Task:
    """Trial on a worker, since a time at which it was sent there."""

    trial: Trial
    node: _Node
    slot: int
    state: bytes | None
    future: Future
    since: float


_Then = Callable[["dict[str, Any] | str"], None]
"""Function of what a task has returned, or of the reason, in words, why it has returned nothing."""


class DaskPool:
    """Pool of the workers of a Dask cluster, for ``run(study, folder, pool=DaskPool("tcp://..."))``.

    Each worker runs as many trials at a time as it has threads, each in a process of its own; one for each of its GPUs, if
    it has any. Workers may come and go. A worker with another version of tieless or torch is refused. Files of data sets
    that a worker lacks are sent to it and checked by their SHA-256.

    Whoever can reach a scheduler without TLS can run programs on its workers. TLS is configured as for any other program
    of Dask, by ``distributed.comm.tls`` in its configuration; the address then begins with ``tls://``.

    Args:
        address: Address of the scheduler, such as ``"tcp://10.0.0.1:8786"``.
        threads: Number of Torch threads of each trial.
        trial_timeout: Number of seconds after which a trial's process is ended; ``None`` for no limit.
        run_trial: Function that runs a trial. The workers must be able to import it.
        code: Code of the user's own that the workers import first: ``Study.code``, which has its sources.
    Raises:
        MissingExtraError: ``distributed`` is not installed.
        StudyError: no scheduler answers at the address, or there are no certificates for it.
    """

    def __init__(
        self,
        address: str,
        *,
        threads: int = 1,
        trial_timeout: float | None = None,
        run_trial: RunTrial = run_trial,
        code: Sequence[Code] = (),
    ) -> None:
        with try_import("cluster") as extra:
            self._distributed: Any = importlib.import_module("distributed")
        extra.check()
        self._address = address
        self._threads = threads
        self._limit = trial_timeout
        self._run_trial = pickle.dumps(Carrying(run_trial, tuple(code)) if code else run_trial)
        self._topic = f"tieless-{uuid.uuid4().hex}"
        self._nodes: dict[str, _Node] = {}
        self._tasks: dict[str, _Task] = {}
        self._then: dict[str, _Then] = {}
        self._sent: dict[str, Future] = {}
        self._events: deque[PoolEvent] = deque()
        # Filled by the threads of the client: futures that have ended, and messages of workers.
        self._arrived: deque[Future | Mapping[str, Any]] = deque()
        self._bell, self._ring = pipe(duplex=False)
        self._looked = 0.0
        self._said = ""
        self._refused_since = math.inf
        self._check_certificates()
        try:
            # A client that fails on its address waits for itself when it is deleted, and complains.
            self._distributed.comm.resolve_address(address)
            self._client: Any = self._connect()
        except (OSError, ValueError) as error:
            raise StudyError(f"No Dask scheduler answers at {address}: {_first_line(error)}.") from None

    def _check_certificates(self) -> None:
        """Raise an error if the address needs certificates and Dask's settings have none that can be read."""
        if not self._address.startswith("tls://"):
            return
        security = self._distributed.Security()
        names = {
            "ca-file": security.tls_ca_file,
            "client.cert": security.tls_client_cert,
            "client.key": security.tls_client_key,
        }
        for setting, file in names.items():
            if not file:
                if setting == "client.key":  # it may be in the file of the certificate
                    continue
                problem = "is not set"
            elif "\n" not in file and not is_file(Path(file)):  # Dask takes the certificate itself as well
                problem = f"names {file}, and there is no such file"
            else:
                continue
            raise StudyError(f"{self._address} needs certificates: distributed.comm.tls.{setting} of Dask {problem}.")
        try:
            security.get_connection_args("client")
        except OSError as error:
            raise StudyError(
                f"{self._address} needs certificates, and those of distributed.comm.tls cannot be used:"
                f" {_first_line(error)}."
            ) from None

    def _connect(self) -> Any:
        with warnings.catch_warnings():
            # Its own versions are told by Dask in many lines; ours are compared in one.
            warnings.simplefilter("ignore")
            client = self._distributed.Client(self._address, timeout=_ANSWER, set_as_default=False, name="tieless")
        client.subscribe_topic(self._topic, self._arrive_message)
        return client

    def _arrive_message(self, event: tuple[float, Mapping[str, Any]]) -> None:
        self._arrive(event[1])

    def _arrive(self, what: Future | Mapping[str, Any]) -> None:
        self._arrived.append(what)
        with contextlib.suppress(OSError):  # the pool is closed
            self._ring.send_bytes(b"!")

    def _submit(self, node: _Node, then: _Then, function: Callable[..., Any], *arguments: Any) -> Future:
        """Have a worker call a function. ``then`` gets what it returns, in ``events``."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a checkpoint is large, and belongs where it is sent
            future = self._client.submit(
                function,
                *arguments,
                # Never used twice: a scheduler that was told to forget a task may still be about it.
                key=f"tieless-{uuid.uuid4().hex}",
                workers=[node.address],
                allow_other_workers=False,
                pure=False,
            )
        self._then[future.key] = then
        future.add_done_callback(self._arrive)
        return future

    def room(self, wanted: int) -> int:
        return sum(node.slots - len(node.trials) for node in self._nodes.values())

    def submit(self, trial: Trial, state: bytes | None) -> None:
        free = [node for node in self._nodes.values() if len(node.trials) < node.slots]
        node = min(free, key=lambda node: len(node.trials) / node.slots)
        slot = next(slot for slot in range(node.slots) if slot not in node.trials)
        node.trials[slot] = trial.id
        self._place(trial, node, slot, state)

    def _place(self, trial: Trial, node: _Node, slot: int, state: bytes | None) -> None:
        order = {
            "trial": trial.to_dict(),
            "state": state,
            "run_trial": self._run_trial,
            "threads": self._threads,
            "gpu": slot if node.gpus else None,
            "limit": self._limit,
            "topic": self._topic,
        }
        future = self._submit(node, lambda answer: self._hear_task(trial.id, answer), remote.run_there, order)
        self._tasks[trial.id] = _Task(trial, node, slot, state, future, time.monotonic())

    def events(self, interrupt: Connection, timeout: float | None) -> Iterator[PoolEvent]:
        due = max(0.0, self._looked + _LOOK - time.monotonic())
        if not self._events:
            wait([interrupt, self._bell], due if timeout is None else min(timeout, due))
        while self._bell.poll():
            self._bell.recv_bytes()
        while self._arrived:
            self._hear(self._arrived.popleft())
        if time.monotonic() >= self._looked + _LOOK:
            self._look()
            self._looked = time.monotonic()
        while self._events:
            yield self._events.popleft()
        # Last, for an error would end the iterator, and with it what there is to tell.
        self._check_nodes()

    def _hear(self, what: Future | Mapping[str, Any]) -> None:
        if isinstance(what, Mapping):
            message = cast("Mapping[str, Any]", what)
            if (task := self._tasks.get(message["trial"])) is not None:
                self._events.append(Epoch(task.trial, EpochRecord(**message["epoch"])))
        elif (then := self._then.pop(what.key, None)) is not None:
            then(_answer(what))

    def _hear_task(self, trial_id: str, answer: dict[str, Any] | str) -> None:
        task = self._tasks.pop(trial_id)
        if not isinstance(answer, str) and "lacks" in answer:
            self._send(answer["lacks"], task)
            return
        if not isinstance(answer, str) and "saved" in answer:
            # A stage has ended: whatever happens to the worker from here on, no more than the next one is lost.
            self._events.append(Saved(task.trial, answer["saved"]))
            self._place(task.trial, task.node, task.slot, answer["saved"])
            return
        del task.node.trials[task.slot]
        if isinstance(answer, str):
            self._events.append(Left(task.trial, f"{task.node.address} {answer}"))
        elif "result" in answer:
            self._events.append(Finished(Result.from_dict(answer["result"])))
        elif "died" in answer:
            self._events.append(Died(task.trial, f"{answer['died']}, on {task.node.address}"))
        else:
            self._events.append(Left(task.trial, f"{task.node.address} has dropped it"))

    def _send(self, name: str, task: _Task) -> None:
        """Send the files of a data set to a worker, then the trial again."""

        def then(answer: dict[str, Any] | str) -> None:
            if isinstance(answer, str):
                self._sent.pop(name, None)
                self._hear_task(task.trial.id, {"died": f"without {name}, for the worker {answer}"})
            else:
                self._place(task.trial, task.node, task.slot, task.state)

        try:
            if name not in self._sent:
                # Workers get it from each other after the first.
                self._sent[name] = self._client.scatter(files(name), hash=False)
            future = self._submit(task.node, then, remote.put, name, self._sent[name], task.trial.sources)
        except DataError as error:
            self._tasks[task.trial.id] = task
            self._hear_task(task.trial.id, {"died": str(error)})
        except (OSError, TimeoutError):
            self._lose(task, "could not be reached")
        else:
            self._tasks[task.trial.id] = replace(task, future=future, since=time.monotonic())

    def _look(self) -> None:
        """Look at who is there: who has come is asked for its versions, and what ran on who has gone is lost."""
        there = self._workers()
        if there is None:
            self._say(f"The scheduler at {self._address} does not answer: waiting for it.")
        for address in set(self._nodes) - set(there or {}):
            node = self._nodes.pop(address)
            for task in [task for task in self._tasks.values() if task.node is node]:
                self._lose(task, "has left the cluster")
        for address, threads in (there or {}).items():
            if address not in self._nodes:
                self._nodes[address] = node = _Node(address, threads)
                self._submit(node, partial(self._meet, node), remote.look_around)
        self._end_silent()
        if self._nodes:
            self._said = ""
        elif there is not None:
            self._say(f"{self._address} has no workers: waiting for one, as 'dask worker {self._address}' starts it.")
        refused = bool(self._nodes) and all(node.refused is not None for node in self._nodes.values())
        self._refused_since = min(self._refused_since, time.monotonic()) if refused else math.inf

    def _workers(self) -> Mapping[str, int] | None:
        """Number of threads of each worker by its address; ``None`` if the scheduler does not answer."""
        try:
            if self._client is None:
                self._client = self._connect()
            if self._client.status == "running":
                return self._client.sync(self._client.scheduler.ncores, callback_timeout=_ANSWER)
        except (OSError, TimeoutError, ValueError):
            pass
        # A client that connects again by itself has forgotten its tasks and what it listened to.
        lost, self._client = self._client, None
        self._sent.clear()
        self._then.clear()
        if lost is not None:
            with contextlib.suppress(OSError, TimeoutError):
                lost.close(timeout=1)
        return None

    def _lose(self, task: _Task, why: str) -> None:
        self._tasks.pop(task.trial.id, None)
        self._then.pop(task.future.key, None)
        task.node.trials.pop(task.slot, None)
        if self._client is not None:
            with contextlib.suppress(OSError, TimeoutError):
                task.future.cancel()
        self._events.append(Left(task.trial, f"{task.node.address} {why}"))

    def _meet(self, node: _Node, answer: dict[str, Any] | str) -> None:
        """Take what a worker says of itself: it gets trials, or is refused."""
        if isinstance(answer, str):
            node.refused = f"it {answer}"
        else:
            others = [
                f"{name} {answer.get(name)}, here it is {value}"
                for name, value in remote.about().items()
                if answer.get(name) != value
            ]
            node.refused = f"it has {others[0]}" if others else None
            node.gpus = answer["gpus"]
        if node.refused is None:
            node.slots = min(node.threads, node.gpus) or node.threads
        else:
            self._events.append(Notice(f"Worker {node.address} is refused: {node.refused}."))

    def _end_silent(self) -> None:
        """Give up on workers that have not said that the limit of their trial is over."""
        if self._limit is None:
            return
        late = time.monotonic() - self._limit - _SLACK
        for task in [task for task in self._tasks.values() if task.since < late]:
            task.node.slots = 0
            self._lose(task, f"is silent after {over(self._limit)}")
            # It gets trials again once it answers.
            self._submit(task.node, partial(self._meet, task.node), remote.look_around)

    def _check_nodes(self) -> None:
        if time.monotonic() - self._refused_since >= _ALL_REFUSED:
            refused = next(iter(self._nodes.values()))
            raise StudyError(
                f"No worker of {self._address} can run this study; {refused.address} is refused: {refused.refused}."
            )

    def _say(self, text: str) -> None:
        """Tell something that lasts, once."""
        if text != self._said:
            self._said = text
            self._events.append(Notice(text))

    def close(self) -> Sequence[Result]:
        ended = [task.future for task in self._tasks.values() if task.future.status == "finished"]
        answers = [_answer(future) for future in ended]
        results = [
            Result.from_dict(answer["result"])
            for answer in answers
            if not isinstance(answer, str) and "result" in answer
        ]
        results += [event.result for event in self._events if isinstance(event, Finished)]
        if self._client is not None:
            with contextlib.suppress(OSError, TimeoutError):
                self._client.cancel([task.future for task in self._tasks.values()])
                self._client.run(remote.dismiss, workers=[node.address for node in self._nodes.values() if node.slots])
            with contextlib.suppress(OSError, TimeoutError):
                self._client.close(timeout=_ANSWER)
        self._tasks.clear()
        self._events.clear()
        return results


def _answer(future: Future) -> dict[str, Any] | str:
    """Return value of a task, or the reason, in words, why there is none."""
    if future.status == "cancelled":
        return "was lost"
    try:
        return future.result(timeout=_ANSWER)
    except Exception as error:  # noqa: BLE001  whatever a worker raises, and whatever Dask raises for it
        return f"gives no answer ({type(error).__name__}: {_first_line(error)})"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
