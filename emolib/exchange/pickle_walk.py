"""Follows a pickle's opcodes without running them, and refuses what would exhaust the memory, the time or the stack."""

from __future__ import annotations

import io
import pickletools
from collections import deque
from collections.abc import Iterable
from typing import IO

from emolib.base.characters import printable
from emolib.base.errors import UserError

_OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
_LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_NAMING = ("GLOBAL", "INST")  # their argument is two lines: module and name
_SETS = ("EMPTY_SET", "FROZENSET")
LONGEST_NAME = 200
LONGEST_SHOWN = 80
TORCH_KINDS = "torch tensors and plain containers of torch.save"


def refused(source: str, asked: str, *, kinds: str = "numpy arrays, torch tensors and plain containers") -> UserError:
    """The error for something that an old file has no reason to ask for."""
    return UserError(
        f"{source} asks for {printable(asked, LONGEST_SHOWN)}, which is not among the allowed {kinds}; nothing of it "
        "was run"
    )


def walk(stream: IO[bytes], source: str, size: int, *, allowed: Iterable[str] | None = None) -> int:
    """Follows one pickle; returns where it ends.

    Args:
        size: bytes up to which the stream may be read.
        allowed: the names that it may ask for, inline only; None leaves the names to `find_class`.

    Raises:
        UserError: truncated or malformed, a size beyond the file's end, a memo place that would fill the memory, a
            set or a tuple as a key (their hashes recurse without a limit), the extension registry, a name.
    """
    position, count, strings = stream.tell(), 0, deque(["?", "?"], maxlen=2)
    stack = _Stack(source)
    memo: dict[int, bool | None] = {}
    while True:
        code = stream.read(1)
        opcode = _OPCODES.get(code)
        if opcode is None:
            fault = f"byte {position} is no opcode" if code else "it ends too early"
            raise UserError(f"{source}: not a whole pickle ({fault}); copy or export the file again")
        count += 1
        value, text, used = _argument(stream, opcode, source, size - position - 1)
        position += 1 + used
        name = opcode.name
        if "UNICODE" in name:
            strings.append(text)
        if name.startswith("EXT") or name in _SETS:  # a registered extension would come without find_class
            raise refused(source, f"the opcode {name}")
        if allowed is not None and (name in ("INST", "OBJ") or (name == "GLOBAL" and text not in allowed)):
            raise refused(source, text or f"the opcode {name}", kinds=TORCH_KINDS)
        if allowed is not None and name == "STACK_GLOBAL":
            raise refused(source, f"{'.'.join(strings)} (opcode STACK_GLOBAL)", kinds=TORCH_KINDS)
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            place = len(memo) if name == "MEMOIZE" else value
            if not 0 <= place <= count:  # the memo is allocated up to its highest place
                raise UserError(f"{source}: memo place {place} after {count} opcodes; it would only fill the memory")
            memo[place] = stack.top()
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.push(memo.get(value, False))
        else:
            stack.apply(opcode)
        if name == "STOP":
            return position


def _argument(stream: IO[bytes], opcode: pickletools.OpcodeInfo, source: str, left: int) -> tuple[int, str, int]:
    """An opcode's argument as a number and as text (a name or a short string), and how many bytes it takes."""
    if opcode.arg is None:
        return 0, "", 0
    kind = opcode.arg.n
    if kind == pickletools.UP_TO_NEWLINE:
        lines = [stream.readline(left) for _ in range(1 + (opcode.name in _NAMING))]
        if not all(line.endswith(b"\n") for line in lines):
            raise UserError(f"{source}: not a whole pickle (it ends too early); copy or export the file again")
        text = ".".join(line[: LONGEST_NAME + 1].rstrip(b"\n").decode("utf-8", "replace") for line in lines)
        return int(text) if opcode.name in ("PUT", "GET") else 0, text, sum(map(len, lines))
    width = _LENGTH_BYTES.get(kind, kind)
    value = int.from_bytes(stream.read(width), "little")
    content = value if kind in _LENGTH_BYTES else 0
    claimed = value if opcode.name == "FRAME" else content
    if claimed > left - width:
        held = max(left - width, 0)
        raise UserError(f"{source}: not a whole pickle ({opcode.name} claims {claimed} bytes, {held} are left)")
    text = stream.read(content).decode("utf-8", "replace") if 0 < content <= LONGEST_NAME else ""
    if not text:
        stream.seek(content, io.SEEK_CUR)
    return value, text, width + content


class _Stack:
    """Which objects on a pickle's stack are tuples; None stands for a mark."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._tuples: list[bool | None] = []

    def push(self, is_tuple: bool | None) -> None:
        self._tuples.append(is_tuple)

    def top(self) -> bool | None:
        if not self._tuples:
            raise UserError(f"{self._source}: not a pickle (an opcode finds too little on the stack)")
        return self._tuples[-1]

    def apply(self, opcode: pickletools.OpcodeInfo) -> None:
        before = opcode.stack_before
        items: list[bool | None] = []
        if pickletools.markobject in before:
            while (item := self._pop()) is not None:
                items.append(item)
            before = before[: before.index(pickletools.markobject)]
        elif opcode.name == "SETITEM":
            items, before = [self._pop(), self._pop()], before[:1]
        if opcode.name in ("SETITEM", "SETITEMS", "DICT") and any(items[1::2]):
            raise UserError(f"{self._source}: a tuple as a key of a dict, which no old file has; export it again")
        popped = [self._pop() for _ in before]
        is_tuple = "TUPLE" in opcode.name or (opcode.name == "DUP" and bool(popped[0]))
        for pushed in opcode.stack_after:
            self.push(None if pushed is pickletools.markobject else is_tuple)

    def _pop(self) -> bool | None:
        item = self.top()
        self._tuples.pop()
        return item
