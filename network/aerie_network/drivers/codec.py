# SPDX-License-Identifier: Apache-2.0
"""Turns frozen dataclasses into plain JSON values and back.

Owns the wire form of the documents exchanged between the network server and its agents. Invariant:
`decode(cls, encode(value)) == value`; unknown keys are ignored (a newer sender may add fields), missing keys take
the field's default, and a missing key without default is an error that names it.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
Decoder = Callable[[Any], Any]


class DocumentError(ValueError):
    """A document does not have the shape its type declares."""


def encode(value: Any) -> Any:
    """The JSON form of a document: dataclasses become dicts, tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: encode(getattr(value, name)) for name in _field_names(type(value))}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    return value


def decode(cls: type[T], data: Any) -> T:
    """The document of type `cls` that `data` describes; raises DocumentError where it does not fit."""
    return typing.cast(T, _decoder(typing.cast(Any, cls))(data))


@functools.cache
def _field_names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


@functools.cache
def _decoder(hint: Any) -> Decoder:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _dataclass_decoder(hint)
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if origin is tuple:
        item = _decoder(args[0])
        return lambda data: tuple([item(entry) for entry in _expect(data, (list, tuple))])
    if origin in (dict, Mapping) or getattr(origin, "__name__", "") == "Mapping":
        entry_of = _decoder(args[1])
        return lambda data: {str(key): entry_of(entry) for key, entry in _expect(data, (dict,)).items()}
    if origin in (typing.Union, types.UnionType):
        inner = _decoder(next(arg for arg in args if arg is not type(None)))
        return lambda data: None if data is None else inner(data)
    return lambda data: _expect(data, (hint,))


def _dataclass_decoder(cls: type) -> Decoder:
    hints = typing.get_type_hints(cls)
    # Decoders of fields are looked up on first use, so that a document type may contain itself.
    rows = [(field.name, hints[field.name], _required(field)) for field in dataclasses.fields(cls)]
    decoders: dict[str, Decoder] = {}

    def decode_one(data: Any) -> Any:
        values = {}
        for name, hint, required in rows:
            if name in data:
                decoder = decoders.get(name)
                if decoder is None:
                    decoder = decoders[name] = _decoder(hint)
                try:
                    values[name] = decoder(data[name])
                except DocumentError as error:
                    raise DocumentError(f"{cls.__name__}.{name}: {error}") from None
            elif required:
                raise DocumentError(f"{cls.__name__}.{name} is missing")
        return cls(**values)

    return lambda data: decode_one(_expect(data, (dict,)))


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _expect(data: Any, kinds: tuple[type, ...]) -> Any:
    # bool is an int to Python, but never a number in a document.
    if isinstance(data, kinds) and not (isinstance(data, bool) and bool not in kinds):
        return data
    raise DocumentError(f"expected {' or '.join(kind.__name__ for kind in kinds)}, got {type(data).__name__}")
