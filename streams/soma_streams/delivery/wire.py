"""Writes, for one Avro schema, the straight-line program that takes its records apart without decoding them.

A record of eighteen fields costs half of what a decoder in C takes to make a dictionary of it: strings stay
slices of bytes, and nothing is called per field. Nothing from a schema gets into the text of a program:
fields are numbers there.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Takes a value and where its body begins; returns the fields. Raises ValueError, IndexError or struct.error
# when the value is not of the schema, or is in a form so rare that it is left to the Avro library.
Program = Callable[[bytes, int], tuple[Any, ...]]

_MOST_VARINT_BYTES = 10
_MOST_ITEMS = 16 * 1024  # a longer list would hold up everything else
_MORE = 127  # a byte above says that the number goes on
_NUMBERS = {"double": ("d", 8), "float": ("f", 4)}


def label(schema: Any) -> str:
    """Return a type in one word, such as `null|array<double>`; equal words are read equally."""
    if isinstance(schema, list):
        return "|".join(map(label, schema))
    if isinstance(schema, Mapping):
        match schema["type"]:
            case "array":
                return f"array<{label(schema['items'])}>"
            case "enum":
                return f"enum<{','.join(schema['symbols'])}>"
            case kind:
                return str(schema.get("logicalType", label(kind)))
    return str(schema)


def program_for(schema: Mapping[str, Any], fields: Sequence[str]) -> Program | None:
    """Return the program that gives these fields of a record, or None for a schema that none is written for.

    Strings come as bytes, symbols as text, times and other integers as int, arrays as lists or tuples.

    Args:
        schema: Of a record, as fastavro parses it.
        fields: All of its fields, in the order in which they are wanted.
    """
    numbers = {each["name"]: number for number, each in enumerate(schema["fields"])}
    if set(numbers) != set(fields):
        return None
    lines = ["def program(v, i):", " odd = 0"]
    constants: dict[str, Any] = {"longer": _longer}
    try:
        for each in schema["fields"]:
            number = numbers[each["name"]]
            lines += _indented(_reading(each["type"], f"f{number}", constants))
    except NotImplementedError:
        return None
    wanted = "".join(f"f{numbers[name]}, " for name in fields)
    lines += [
        # Lengths are even and the end is met exactly, unless something was negative or cut off.
        " if odd & 1 or i != len(v): raise ValueError",
        f" return ({wanted})",
    ]
    exec("\n".join(lines), constants)  # noqa: S102  # our own text: the schema gives numbers alone
    made: Program = constants["program"]
    return made


def _reading(schema: Any, name: str, constants: dict[str, Any]) -> list[str]:
    kind = schema["type"] if isinstance(schema, Mapping) else schema
    match kind:
        case "string" | "bytes":
            return [*_LENGTH, f"{name} = v[i:(i := i + (n >> 1))]"]
        case "long" | "int":
            return [*_VARINT, f"{name} = n >> 1 ^ -(n & 1)"]
        case "double" | "float":
            code, size = _NUMBERS[kind]
            constants[f"{name}_of"] = struct.Struct(f"<{code}").unpack_from
            return [f"{name}, = {name}_of(v, i)", f"i += {size}"]
        case "enum" if isinstance(schema, Mapping):
            constants[f"{name}_of"] = tuple(schema["symbols"])
            return [*_LENGTH, f"{name} = {name}_of[n >> 1]"]
        case "array" if isinstance(schema, Mapping):
            return [*_LENGTH, f"{name} = []", "if n:", *_indented(_items(schema["items"], name, constants))]
        case ["null", item]:
            there = _indented(_reading(item, name, constants))
            return [
                *_VARINT,
                "if n == 0:",
                f" {name} = None",
                "elif n == 2:",
                *there,
                "else: raise ValueError",
            ]
        case _:
            raise NotImplementedError


def _items(schema: Any, name: str, constants: dict[str, Any]) -> list[str]:
    end = ["if v[i]: raise ValueError", "i += 1"]  # further blocks are rare
    if isinstance(schema, str) and schema in _NUMBERS:
        code, size = _NUMBERS[schema]
        constants["unpack"] = struct.unpack_from
        return ["n >>= 1", f"{name} = unpack(f'<{{n}}{code}', v, i)", f"i += n * {size}", *end]
    item = _indented(_reading(schema, f"{name}_item", constants))
    long = f"if n > {2 * _MOST_ITEMS}: raise ValueError"
    return [long, "for _ in range(n >> 1):", *item, f" {name}.append({name}_item)", *end]


_VARINT = ["n = v[i]", "i += 1", f"if n > {_MORE}: n, i = longer(v, i, n)"]
_LENGTH = [*_VARINT, "odd |= n"]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f" {line}" for line in lines]


def _longer(value: bytes, at: int, first: int) -> tuple[int, int]:
    """Return a varint of more than one byte, and where it ends."""
    number = first & _MORE
    for shift in range(7, 7 * _MOST_VARINT_BYTES, 7):
        byte = value[at]
        at += 1
        number |= (byte & _MORE) << shift
        if byte <= _MORE:
            return number, at
    raise ValueError
