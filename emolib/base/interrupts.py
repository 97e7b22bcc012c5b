"""Stopping: what Ctrl-C, a kill and a closed terminal do to a command.

The first signal runs what was registered by `before_leaving` (a kernel is killed, say) and raises `KeyboardInterrupt`
in the main thread; further ones are ignored while the command cleans up. If it has not ended after `PATIENCE`, because
a library holds it, a thread ends it the hard way, after the same registered calls. Python drops what is raised in a
finaliser or in a weak reference's callback (imports run such) and prints a traceback of it; an interrupt that is lost
there is raised once more, in silence.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

PATIENCE = 1.4  # seconds from a signal until the process is ended the hard way
PAUSE = 0.01  # seconds from an interrupt that was lost until the next
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_calls: list[Callable[[], object]] = []


class Stop:
    """Whether a signal came, which one, and what is said of it.

    Attributes:
        signal: the first that came; None as long as none did.
    """

    def __init__(self, line: Callable[[], str]) -> None:
        self.signal: int | None = None
        self._line = line
        self._said = threading.Lock()
        self._lost = False

    @property
    def code(self) -> int:
        """The exit code, as a shell counts: 130 for Ctrl-C, 143 for a kill."""
        return 128 + (self.signal or signal.SIGINT)

    def say(self) -> None:
        """Prints the line on stderr, once."""
        if self._said.acquire(blocking=False):
            with contextlib.suppress(Exception):  # nobody is there to read it
                print(self._line(), file=sys.stderr, flush=True)

    def leave(self) -> None:
        """Says the line and, if a signal came, ends the process at once: what was open has been closed by then."""
        self.say()
        if self.signal is not None:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            os._exit(self.code)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
            run_calls()
            raise KeyboardInterrupt
        if self._lost:
            self._lost = False
            raise KeyboardInterrupt

    def _unraisable(self, dropped: sys.UnraisableHookArgs, former: Callable[[sys.UnraisableHookArgs], object]) -> None:
        """Told of an exception that Python drops: this command's interrupt is raised again, others are passed on."""
        if self.signal is None or dropped.exc_type is not KeyboardInterrupt:
            former(dropped)
            return
        again = threading.Timer(PAUSE, self._raise_again)
        again.daemon = True
        again.start()

    def _raise_again(self) -> None:
        self._lost = True
        number = signal.Signals(self.signal or signal.SIGINT)
        if hasattr(signal, "pthread_kill"):  # wakes a main thread that sleeps
            signal.pthread_kill(threading.main_thread().ident or 0, number)
        else:
            _thread.interrupt_main(number)

    def _watch(self, watched: socket.socket, ended: threading.Event) -> None:
        """In a thread of its own: is woken by the system itself, whatever the main thread is doing."""
        while True:
            numbers = watched.recv(16)
            if not numbers:
                return
            known = [number for number in numbers if number in SIGNALS]
            if known:
                break
        if not ended.wait(PATIENCE):
            self.signal = self.signal or known[0]
            run_calls()
            self.say()
            os._exit(self.code)


@contextlib.contextmanager
def stoppable(line: Callable[[], str]) -> Iterator[Stop]:
    """Handles signals for the time of the block: the first raises `KeyboardInterrupt`, the others do nothing.

    A signal that the caller ignores (`nohup`) stays ignored. Outside the main thread nothing is changed.

    Args:
        line: gives what to say when the command has to be ended the hard way.
    """
    stop = Stop(line)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    watched, waking = socket.socketpair()
    waking.setblocking(False)
    ended = threading.Event()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    former = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=stop._watch, args=(watched, ended), daemon=True).start()
    hook = sys.unraisablehook
    sys.unraisablehook = lambda dropped: stop._unraisable(dropped, hook)
    try:
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, stop._handle)
        yield stop
    finally:
        for number, handler in before.items():
            # once a signal came the process is ending: a second one must not end it with a traceback
            if handler is not None:
                signal.signal(number, signal.SIG_IGN if stop.signal is not None else handler)
        if stop.signal is None:  # otherwise the thread sees to it that the process ends
            sys.unraisablehook = hook
            signal.set_wakeup_fd(former)
            ended.set()
            waking.close()


@contextlib.contextmanager
def before_leaving(call: Callable[[], object]) -> Iterator[None]:
    """Has `call` run at once when a signal comes during the block; it is quick and may be run twice."""
    _calls.append(call)
    try:
        yield
    finally:
        _calls.remove(call)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Signals that come during the block are delivered at its end; processes that it starts never get Ctrl-C."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_calls() -> None:
    """Runs what was registered, the latest first."""
    for call in reversed(_calls.copy()):
        with contextlib.suppress(Exception):
            call()
