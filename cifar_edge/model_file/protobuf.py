"""Decodes protocol buffers, the format of ``.onnx`` files, from untrusted bytes.

https://protobuf.dev/programming-guides/encoding describes the format. Other decoders skip unknown fields. This one
accepts only the fields of its schema, each once unless it is repeated, so that no other decoder can find more in the
same bytes. No schema contains itself, which limits the depth.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

MAX_FIELDS = 200_000
"""Most fields in one message, nested ones included; a model for the edge has some thousands."""

Message = dict[str, Any]
"""Field name -> value, or list of values if it is repeated. An absent field has no key, or an empty list."""

_VARINT, _LENGTH, _FIXED32 = 0, 2, 5
_MOST_SHIFT = 63
"""The shift of the last byte of a number."""


class DamagedError(ValueError):
    """The bytes are not a message of the schema."""


class RefusedError(ValueError):
    """The message has a field that the schema refuses by name."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        name: the key of its value in `Message`.
        kind: ``int`` (as a signed number of 64 bits), ``float`` (of 32 bits), ``text`` (UTF-8), ``data`` (a view of
            the bytes), the `Schema` of a message, or ``refused``: then ``name`` describes it in errors.
        repeated: whether it may occur more than once.
    """

    name: str
    kind: "Literal['int', 'float', 'text', 'data', 'refused'] | Schema"
    repeated: bool = False


class Schema:
    """The fields that a message may have.

    Args:
        name: of the message, in errors.
        fields: number -> field.
    """

    def __init__(self, name: str, fields: Mapping[int, Field]) -> None:
        self.name = name
        self.repeated = [field.name for field in fields.values() if field.repeated]
        self.by_tag = {number << 3 | wire: field for number, field in fields.items() for wire in _wires(field)}


def _wires(field: Field) -> Sequence[int]:
    """The wire types that a field may have; repeated numbers may be packed."""
    if field.kind == "refused":
        return range(8)
    if field.kind in ("int", "float"):
        one = _VARINT if field.kind == "int" else _FIXED32
        return [one, _LENGTH] if field.repeated else [one]
    return [_LENGTH]


def decode(content: bytes, schema: Schema) -> Message:
    """Decode the message in ``content``.

    Raises:
        DamagedError: it is not a message of ``schema``, or has more than `MAX_FIELDS` fields.
        RefusedError: it has a field that the schema refuses.
        UnicodeDecodeError: a string in it is not UTF-8.
    """
    return _Decoder(content).message(0, len(content), schema)


class _Decoder:
    def __init__(self, content: bytes) -> None:
        self._content, self._view = content, memoryview(content)
        self._left = MAX_FIELDS

    def message(self, position: int, end: int, schema: Schema) -> Message:
        content, varint, fields = self._content, self._varint, schema.by_tag
        values: Message = {name: [] for name in schema.repeated}
        while position < end:
            self._count(1)
            tag = content[position]
            tag, position = (tag, position + 1) if tag < 0x80 else varint(position, end)
            if tag not in fields:
                raise DamagedError(f"field {tag >> 3} of wire type {tag & 7} is not in a {schema.name}")
            name, kind, repeated = fields[tag]
            if kind == "refused":
                raise RefusedError(name)
            if tag & 7 == _LENGTH:
                length, position = varint(position, end)
                if not 0 <= length <= end - position:
                    raise DamagedError(f"{name} of a {schema.name} is cut off")
                found, position = self._bounded(position, position + length, kind), position + length
                if kind in ("int", "float"):
                    values[name] += found
                    continue
            elif kind == "int":
                found, position = varint(position, end)
            else:
                (found,), position = self._floats(position, min(position + 4, end)), position + 4
            if repeated:
                values[name].append(found)
            elif name in values:
                raise DamagedError(f"{name} of a {schema.name} is there twice")
            else:
                values[name] = found
        return values

    def _bounded(self, start: int, end: int, kind: Any) -> Any:
        """Decode a length-delimited field."""
        if kind == "text":
            return self._content[start:end].decode()
        if kind == "data":
            return self._view[start:end]
        if kind == "float":
            return self._floats(start, end)
        if kind != "int":
            return self.message(start, end, kind)
        found = []
        while start < end:
            self._count(1)
            value, start = self._varint(start, end)
            found.append(value)
        return found

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """Decode a varint at ``position``; returns it and the position after it."""
        value = shift = 0
        while position < end:
            byte = self._content[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 1 << 64:
                    break
                return (value - (1 << 64) if value >= 1 << 63 else value), position
            shift += 7
            if shift > _MOST_SHIFT:
                break
        raise DamagedError("a number is cut off, or has more than 64 bits")

    def _floats(self, start: int, end: int) -> tuple[float, ...]:
        count, rest = divmod(end - start, 4)
        if rest:
            raise DamagedError("a number is cut off")
        self._count(count)
        return struct.unpack_from(f"<{count}f", self._content, start)

    def _count(self, fields: int) -> None:
        self._left -= fields
        if self._left < 0:
            raise DamagedError(f"more than {MAX_FIELDS:,} fields")
