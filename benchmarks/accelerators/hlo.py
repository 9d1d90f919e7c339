"""Reads optimised HLO as text: what one step of a loop launches, copies, moves and exchanges.

The format is that of XLA's `HloModule::ToString` (https://openxla.org/xla/operation_semantics
names the operations). On TPU a layout ends in its memory space: none for HBM, `S(1)` for the
chip's own fast memory.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "c64": 64}
_ARRAY = re.compile(r"([a-z]+\d*[a-z0-9]*)\[([\d,]*)\](\{[^{}]*\})?")
_LINE = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (.*)")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_CALLED = re.compile(
    r"(?:calls|to_apply|branch_computations|true_computation|false_computation|body)="
    r"(\{[^}]*\}|%?[\w.\-]+)"
)
# Names for values, and layouts seen in another way: nothing happens at run time.
_FREE = frozenset(
    [
        "parameter",
        "tuple",
        "get-tuple-element",
        "constant",
        "bitcast",
        "after-all",
        "partition-id",
        "replica-id",
        "opt-barrier",
        "add-dependency",
    ]
)
_COPIES = frozenset(["copy", "transpose", "copy-start"])
_COLLECTIVES = frozenset(
    [
        "all-reduce",
        "all-gather",
        "all-to-all",
        "reduce-scatter",
        "collective-permute",
        "all-reduce-start",
        "all-gather-start",
        "collective-permute-start",
        "ragged-all-to-all",
        "collective-broadcast",
    ]
)
_SLICES = frozenset(("dynamic-slice", "slice", "gather"))


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of an instruction's shape.

    Attributes:
      sizes: of its axes.
      bytes: its size without the padding of tiles.
      in_hbm: whether it lies in the chip's main memory.
    """

    sizes: tuple[int, ...]
    bytes: int
    in_hbm: bool


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a computation.

    Attributes:
      name: without "%".
      opcode: such as "fusion".
      arrays: those of its result, in order.
      operands: names of the instructions that it reads.
      called: names of the computations that it runs.
      text: the line.
      root: whether its result is that of the computation.
    """

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    called: tuple[str, ...]
    text: str
    root: bool

    @property
    def bytes(self) -> int:
        return sum(array.bytes for array in self.arrays)

    @property
    def hbm_bytes(self) -> int:
        return sum(array.bytes for array in self.arrays if array.in_hbm)


Computation = dict[str, Instruction]


class Module:
    """A compiled program.

    Args:
      text: of `jax.stages.Compiled.as_text()`.
    """

    def __init__(self, text: str):
        self._text = text
        self._computations = _parse(text)

    @functools.cached_property
    def loop_body(self) -> Computation:
        """The body of the largest loop: one step.

        Raises:
          ValueError: the program has no loop.
        """
        bodies = [
            name
            for computation in self._computations.values()
            for instruction in computation.values()
            if instruction.opcode == "while"
            for name in instruction.called
        ]
        if not bodies:
            raise ValueError("the program has no loop")
        return self._computations[max(bodies, key=lambda name: len(self._computations[name]))]

    @property
    def entry(self) -> Computation:
        """The computation that the program begins with."""
        return self._computations[re.search(r"^ENTRY %?([\w.\-]+)", self._text, re.M).group(1)]

    @property
    def argument_bytes(self) -> int:
        """Bytes of the program's arguments on one device."""
        return sum(one.bytes for one in self.entry.values() if one.opcode == "parameter")

    def flops(self, computation: Computation) -> int:
        """Operations of its matrix products, a loop's body counted once; for unoptimised HLO."""
        total = 0
        for instruction in computation.values():
            if instruction.opcode == "dot":
                left = computation[instruction.operands[0]].arrays[0].sizes
                axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.text).group(1)
                depth = math.prod(left[int(axis)] for axis in axes.split(",") if axis)
                total += 2 * math.prod(instruction.arrays[0].sizes) * depth
            total += sum(self.flops(self._computations[name]) for name in instruction.called)
        return total

    def launches(self, computation: Computation, least_bytes: int = 0) -> int:
        """Kernels (GPU) or fusions, copies and calls (TPU) that run once a step.

        Not counted are prefetches, which run beside them.

        Args:
          computation: of which program or loop.
          least_bytes: results of so many bytes or fewer are not counted either.
        """
        return sum(
            not one.opcode.endswith("-start") and one.bytes > least_bytes
            for one in self._run(computation)
        )

    def copies(self, computation: Computation, least: int) -> list[tuple[int, str, str]]:
        """Copies, transpositions and relayouts of at least so many bytes.

        Returns:
          Bytes, opcode and source line ("file:line", or "" where XLA made it) of each.
        """
        return [
            (instruction.arrays[0].bytes, instruction.opcode, self.source(instruction))
            for instruction in self._run(computation)
            if self._moves_only(instruction)
            and instruction.arrays
            and instruction.arrays[0].bytes >= least
            # From or to the chip's own memory it is a prefetch, or its way back.
            and (
                instruction.opcode != "copy-start" or all(x.in_hbm for x in instruction.arrays[:2])
            )
        ]

    def collectives(self, computation: Computation) -> list[tuple[str, int]]:
        """Opcode and bytes of each exchange between devices."""
        return [
            (instruction.opcode, instruction.arrays[0].bytes)
            for instruction in self._run(computation)
            if instruction.opcode in _COLLECTIVES
        ]

    def hbm_bytes(self, computation: Computation) -> int:
        """Bytes to and from HBM: operands read, results written; a slice counts as a slice.

        What is updated in place counts as the update alone (and where a kernel of ours does it,
        as read alone), and what lies in the chip's own memory not at all.
        """
        return sum(
            self._read(instruction, computation) + self._written(instruction, computation)
            for instruction in self._run(computation)
        )

    def _run(self, computation: Computation) -> Iterator[Instruction]:
        """The instructions that take time, those of called computations among them."""
        for instruction in computation.values():
            if instruction.opcode in _FREE or instruction.opcode.endswith("-done"):
                continue
            inner = instruction.opcode in ("call", "conditional", "async-start", "while")
            if inner and instruction.called:
                for name in instruction.called:
                    yield from self._run(self._computations.get(name, {}))
            else:
                yield instruction

    def _moves_only(self, instruction: Instruction) -> bool:
        """Whether it is a copy, or a fusion of nothing but a copy."""
        if instruction.opcode in _COPIES:
            return True
        if instruction.opcode != "fusion":
            return False
        inside = self._computations[instruction.called[0]].values()
        work = {one.opcode for one in inside} - _FREE
        return bool(work) and work <= {"copy", "transpose", "reshape", "convert", "broadcast"}

    def source(self, instruction: Instruction) -> str:
        """Where the program's author wrote it: "file:line"; "" for what XLA made itself."""
        frame = re.search(r"stack_frame_id=(\d+)", instruction.text)
        return self._frames.get(frame.group(1), "") if frame else ""

    @functools.cached_property
    def _frames(self) -> dict[str, str]:
        """The source line of each stack frame, from the tables at the head of the text."""
        files = dict(re.findall(r'^(\d+) "(/[^"]*)"', self._text, re.M))
        places = {
            number: f"{files.get(file, '?')}:{line}"
            for number, file, line in re.findall(
                r"^(\d+) \{file_name_id=(\d+) function_name_id=\d+ line=(\d+)",
                self._text,
                re.M,
            )
        }
        frames = re.findall(r"^(\d+) \{file_location_id=(\d+)", self._text, re.M)
        return {number: places.get(place, "") for number, place in frames}

    def _read(self, instruction: Instruction, computation: Computation) -> int:
        operands = [computation[name] for name in instruction.operands if name in computation]
        if instruction.opcode == "slice-start":  # ((source), result, context)
            return instruction.arrays[1].bytes if operands and operands[0].hbm_bytes else 0
        if instruction.opcode in _SLICES:
            return instruction.bytes if operands and operands[0].hbm_bytes else 0
        if instruction.opcode == "dynamic-update-slice":
            return operands[1].hbm_bytes
        if instruction.opcode != "fusion":
            return sum(operand.hbm_bytes for operand in operands)
        inside = self._computations[instruction.called[0]]
        parameters = sorted(
            (one for one in inside.values() if one.opcode == "parameter"), key=_parameter_number
        )
        return sum(
            _part_read(parameter, inside)
            for operand, parameter in zip(operands, parameters, strict=False)
            if operand.hbm_bytes
        )

    def _written(self, instruction: Instruction, computation: Computation) -> int:
        if instruction.opcode in ("copy-start", "slice-start"):  # (result, source, context)
            result = instruction.arrays[instruction.opcode == "slice-start"]
            return result.bytes if result.in_hbm else 0
        if instruction.opcode == "dynamic-update-slice":
            return computation[instruction.operands[1]].bytes if instruction.hbm_bytes else 0
        if instruction.opcode != "fusion":
            in_place = _in_place(instruction)
            return sum(
                array.bytes
                for index, array in enumerate(instruction.arrays)
                if array.in_hbm and index not in in_place
            )
        inside = self._computations[instruction.called[0]]
        root = next(one for one in inside.values() if one.root)
        results = [inside[name] for name in root.operands] if root.opcode == "tuple" else [root]
        written = 0
        for array, result in zip(instruction.arrays, results, strict=False):
            while result.opcode == "bitcast":
                result = inside[result.operands[0]]
            updates = result.opcode == "dynamic-update-slice"
            size = inside[result.operands[1]].bytes if updates else array.bytes
            written += size if array.in_hbm else 0
        return written


def _in_place(instruction: Instruction) -> set[int]:
    """The results of a kernel of ours that take the place of an operand: read, hardly written."""
    aliases = re.search(r"output_to_operand_aliasing=\{(.*?\))\}", instruction.text)
    return set(map(int, re.findall(r"\{(\d+)\}: \(", aliases.group(1)))) if aliases else set()


def _part_read(parameter: Instruction, inside: Computation) -> int:
    """Bytes of a fusion's operand that the fusion reads."""
    users = [one for one in inside.values() if parameter.name in one.operands]
    read = 0
    for user in users:
        if user.opcode == "bitcast":
            read += _part_read(user, inside)
        elif user.opcode in _SLICES and user.operands[0] == parameter.name:
            read += user.bytes
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == parameter.name:
            continue
        else:
            return parameter.bytes
    return min(read, parameter.bytes)


def _parameter_number(parameter: Instruction) -> int:
    return int(re.search(r"parameter\((\d+)\)", parameter.text).group(1))


def _parse(text: str) -> dict[str, Computation]:
    computations: dict[str, Computation] = {}
    current: Computation | None = None
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():  # such as /*index=5*/
        if current is None:
            header = re.match(r"(?:ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .* )?\{$", line)
            if header:
                current = computations.setdefault(header.group(1), {})
        elif line.startswith("}"):
            current = None
        else:
            instruction = _instruction(line)
            if instruction:
                current[instruction.name] = instruction
    return computations


def _instruction(line: str) -> Instruction | None:
    match = _LINE.match(line)
    if not match:
        return None
    name, rest = match.groups()
    shape, rest = _split_shape(rest)
    opcode = _OPCODE.match(rest)
    if not opcode:
        return None
    start = opcode.end() - 1
    end = _closing(rest, start)
    return Instruction(
        name=name,
        opcode=opcode.group(1),
        arrays=tuple(_arrays(shape)),
        operands=tuple(re.findall(r"%?([A-Za-z_][\w.\-]*)", rest[start:end])),
        called=tuple(
            computation
            for names in _CALLED.findall(rest[end:])
            for computation in re.findall(r"%?([\w.\-]+)", names)
        ),
        text=line,
        root=line.lstrip().startswith("ROOT "),
    )


def _split_shape(text: str) -> tuple[str, str]:
    if text.startswith("("):
        end = _closing(text, 0)
        return text[:end], text[end:]
    shape, _, rest = text.partition(" ")
    return shape, rest


def _closing(text: str, start: int) -> int:
    """The place behind the bracket that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if not depth:
            return index + 1
    return len(text)


def _arrays(shape: str) -> Iterator[Array]:
    for kind, sizes, layout in _ARRAY.findall(shape):
        sizes = tuple(int(size) for size in sizes.split(",") if size)
        digits = re.search(r"\d+", kind)
        bits = _BITS.get(kind) or (int(digits.group()) if digits else 0)
        bytes_ = math.prod(sizes) * bits // 8
        yield Array(sizes=sizes, bytes=bytes_, in_hbm="S(" not in layout)
