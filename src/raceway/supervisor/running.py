"""The process of the supervisor: signals, child processes, sockets and pipes around ``Supervision``."""

from __future__ import annotations

import logging
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Final

from raceway.errors import ConfigurationError
from raceway.server import Config
from raceway.server.listener import close_slots, open_slots, slots_share
from raceway.server.running import describe
from raceway.server.serving import listening_address, raise_file_limit
from raceway.supervisor import pipe, state
from raceway.supervisor.balance import WEIGH_S
from raceway.supervisor.hosting import Hosting
from raceway.supervisor.state import Effect, Supervision
from raceway.supervisor.worker import INHERITED_WORKER, OBEYED, Inherited

logger = logging.getLogger("raceway.supervisor")

SUPERVISED: Final = "RACEWAY_SUPERVISED"
"""In the environment of workers and of what they start: somebody else hosts brokers."""


def supervise(config: Config, workers: int) -> int:
    """Run this command again in ``workers`` processes until SIGTERM or SIGINT; returns the exit status.

    SIGTERM drains, SIGINT stops at once, a second one of them does not wait; SIGHUP replaces the workers one by one.
    Raises ``ConfigurationError`` if no socket can be opened, or the application of every worker says that it cannot
    start.
    """
    raise_file_limit()
    slots = open_slots(config, workers)
    try:
        supervisor = Supervisor(config, slots)
        finish = supervisor.run()
    finally:
        close_slots(slots, config.uds)
    if finish.worker is not None:
        why = supervisor.failures.get(finish.worker, "The workers end before they serve.")
        if finish.status == 2:
            raise ConfigurationError(why)
        print(why, file=sys.stderr)
    return finish.status


class Worker:
    """A child process and the supervisor's end of its pipe."""

    def __init__(self, slot: int, process: subprocess.Popen[bytes], end: socket.socket) -> None:
        self.slot = slot
        self.process = process
        self.end = end
        self.lines = pipe.from_worker()
        self.connections: int | None = None
        """As it last said; ``None`` before it serves."""

    def say(self, word: pipe.FromSupervisor) -> None:
        # One that has ended or does not read need not hear: its exit or its time limit comes.
        with suppress(OSError):
            self.end.send(pipe.line(word))


class Supervisor:
    """Do what ``Supervision`` decides. ``failures`` says why workers did not start, in their own words."""

    def __init__(self, config: Config, slots: list[list[socket.socket]]) -> None:
        self.failures: dict[int, str] = {}
        self._config = config
        self._slots = slots
        self._shared = slots_share(config)
        self._supervision = Supervision(len(slots), config.drain_s, random.random)
        self._workers: dict[int, Worker] = {}
        self._hosting = Hosting()
        self._to_do: deque[Effect] = deque()
        self._acting = False
        self._stopping = False
        self._noted: dict[int, None] = {}
        """Signals that have come, in their order: of a storm each number once, so that none hides another."""
        self._on_terminal = os.isatty(0)
        self._selector = selectors.DefaultSelector()
        self._finish: state.Finish | None = None
        self._weighs = self._shared and len(slots) > 1
        self._weigh_at = time.monotonic()

    def run(self) -> state.Finish:
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        numbers = (*OBEYED, signal.SIGCHLD)
        for number in numbers:
            signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        self._selector.register(woken, selectors.EVENT_READ)
        try:
            self._act(self._supervision.start(time.monotonic()))
            while self._finish is None:
                self._turn(woken)
        finally:
            for worker in self._workers.values():  # none, unless we have failed
                worker.process.kill()
            self._hosting.stop()
            signal.set_wakeup_fd(-1)
            for number in OBEYED:  # one that comes now must not end us with another status
                signal.signal(number, signal.SIG_IGN)
            self._selector.close()
            wake.close()
            woken.close()
        return self._finish

    def _turn(self, woken: socket.socket) -> None:
        """Wait for the next thing, and do it."""
        for key, _ in self._selector.select(self._timeout_s()):
            if key.fileobj is woken:
                woken.recv(4096)  # only wakes: in a storm it is full, and what comes then is not in it
                numbers, self._noted = self._noted, {}
                for number in numbers:
                    self._signalled(number)
            elif key.data in self._workers:
                self._hear(key.data, self._workers[key.data])
        now = time.monotonic()
        if self._weighs and now >= self._weigh_at:
            self._weigh(now)
        if self._supervision.deadline is not None and self._supervision.deadline <= now:
            self._act(self._supervision.wake(now))

    def _timeout_s(self) -> float | None:
        deadline = self._supervision.deadline
        if self._weighs:
            deadline = self._weigh_at if deadline is None else min(deadline, self._weigh_at)
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    # What happens

    def _note(self, number: int, _: object) -> None:
        self._noted[number] = None

    def _signalled(self, number: int) -> None:
        now = time.monotonic()
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP and self._on_terminal and not os.isatty(0):
            self._stop("The terminal is gone: stopping.", self._supervision.interrupt(now))
        elif number == signal.SIGHUP:
            logger.info("SIGHUP: replacing the workers.")
            self._act(self._supervision.renew(now))
        elif number == signal.SIGTERM:
            self._stop(
                f"SIGTERM: stopping within {self._config.drain_s:g} s.", self._supervision.terminate(now)
            )
        elif number == signal.SIGINT:
            self._stop("SIGINT: stopping.", self._supervision.interrupt(now))

    def _stop(self, text: str, effects: list[Effect]) -> None:
        if effects:  # or it is the same signal once more
            logger.info("%s", text if not self._stopping else "A second signal: waiting for nobody.")
            self._stopping = True
            self._act(effects)

    def _reap(self) -> None:
        for number, worker in list(self._workers.items()):
            status = worker.process.poll()
            if status is not None:
                self._hear(number, worker)  # its last words
                self._forget(number)
                self._act(self._supervision.exited(number, status, time.monotonic()))
        _reap_others({worker.process.pid for worker in self._workers.values()})

    def _forget(self, number: int) -> None:
        worker = self._workers.pop(number)
        with suppress(KeyError):  # its end has been read
            self._selector.unregister(worker.end)
        worker.end.close()

    def _hear(self, number: int, worker: Worker) -> None:
        while True:
            try:
                data = worker.end.recv(pipe.READ_BYTES)
                if not data:
                    break
                words = worker.lines.receive(data)
            except BlockingIOError:
                return
            except (OSError, ValueError):
                break
            for word in words:
                self._heard(number, worker, word)
        # Nothing comes any more: it has ended, and SIGCHLD says how.
        with suppress(KeyError):
            self._selector.unregister(worker.end)

    def _heard(self, number: int, worker: Worker, word: pipe.FromWorker) -> None:
        if isinstance(word, pipe.Loaded):
            self._act(self._supervision.ready(number, time.monotonic()))
        elif isinstance(word, pipe.Failed):
            if number not in self._supervision.leaving:  # or nobody asks
                self.failures[number] = word.text
        elif isinstance(word, pipe.Connections):
            if worker.connections is not None:
                worker.connections = word.count
        else:
            self._hosting.heard(word, len(self._supervision.slots))

    def _weigh(self, now: float) -> None:
        self._weigh_at = now + WEIGH_S
        serving = [worker for worker in self._workers.values() if worker.connections is not None]
        if not serving:
            return
        mean = sum(worker.connections or 0 for worker in serving) / len(serving)
        for worker in serving:
            worker.say(pipe.Weigh(mean))

    # What is done

    def _act(self, effects: list[Effect]) -> None:
        """Act in order; an effect that fails at once is an event, whose effects come last."""
        self._to_do.extend(effects)
        if self._acting:
            return
        self._acting = True
        while self._to_do:
            self._do(self._to_do.popleft())
        self._acting = False

    def _do(self, effect: Effect) -> None:
        match effect:
            case state.Spawn(slot, number):
                self._spawn(slot, number)
            case state.Listen(number):
                self._listen(number)
            case state.Drain(number, drain_s):
                self._drain(number, drain_s)
            case state.Kill(number):
                if number in self._workers:
                    self._workers[number].process.kill()
            case state.Quieten(slot):
                self._quieten(slot)
            case state.Close():
                close_slots(self._slots, self._config.uds)
            case state.Announce():
                self._announce()
            case state.Renewed():
                logger.info("The workers are replaced.")
            case state.Report():
                self._report(effect)
            case state.Finish():
                self._finish = effect
                if effect.worker is None:
                    logger.info("Stopped.")

    def _listen(self, number: int) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            worker.connections = 0
            worker.say(pipe.Listen())

    def _spawn(self, slot: int, number: int) -> None:
        try:
            worker = self._started(slot)
        except OSError as error:
            self.failures[number] = f"No process could be started: {error}."
            self._act(self._supervision.exited(number, 1, time.monotonic()))
            return
        self._workers[number] = worker
        self._selector.register(worker.end, selectors.EVENT_READ, number)

    def _started(self, slot: int) -> Worker:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        sockets = tuple(opened.fileno() for opened in self._slots[slot - 1])
        inherited = Inherited(slot, theirs.fileno(), sockets)
        signal.pthread_sigmask(signal.SIG_BLOCK, OBEYED)  # until the worker is prepared for them
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "raceway", *sys.argv[1:]],
                pass_fds=(theirs.fileno(), *sockets),
                env={**os.environ, INHERITED_WORKER: str(inherited), SUPERVISED: "1"},
            )
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, OBEYED)
            theirs.close()
        return Worker(slot, process, ours)

    def _drain(self, number: int, drain_s: float) -> None:
        worker = self._workers.get(number)
        if worker is not None:
            worker.connections = None
            worker.say(pipe.Stop(drain_s))

    def _quieten(self, slot: int) -> None:
        if self._shared:
            return  # others may serve it, and a Unix socket would never listen again
        for opened in self._slots[slot - 1]:
            # Shut down before it ever listened, it would stay so: all that is accepted would be at its end at once.
            if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                opened.shutdown(socket.SHUT_RDWR)

    def _announce(self) -> None:
        for opened in self._slots[0]:
            address = listening_address(opened)
            logger.info(
                "Serving on %s with %d worker%s (stop with Ctrl-C).",
                describe(address, bool(self._config.ssl_certfile)),
                len(self._slots),
                "s" if len(self._slots) > 1 else "",
            )

    def _report(self, report: state.Report) -> None:
        failure = self.failures.pop(report.worker, None)
        why = "" if failure is None else f":\n{failure}" if "\n" in failure else f": {failure}"
        logger.error("Worker %d %s%s", report.slot, report.text, why or ".")


def _reap_others(workers: set[int]) -> None:
    """Children that we did not start: orphans, if we are a container's first process, or jobs of a shell before us."""
    with suppress(ChildProcessError, AttributeError):  # there are none; an old Python on macOS cannot ask
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid in workers:  # its turn comes
                return
            os.waitpid(found.si_pid, 0)
