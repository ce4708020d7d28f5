"""The OpenAPI document of the gateway's HTTP and JSON, made from the contract's `google.api.http` options and comments.

What is in it is what the transcoding proxy (deploy/http) serves: names in lowerCamelCase, 64-bit integers as texts,
enumerations by name. `protos/generate.py` writes it.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

SERVICE_FILE = "vecsec/gateway/v1/gateway_service.proto"
Json = dict[str, Any]
_Field = descriptor_pb2.FieldDescriptorProto
_Message = descriptor_pb2.DescriptorProto
_SCALARS: Mapping[int, Json] = {
    _Field.TYPE_BOOL: {"type": "boolean"},
    _Field.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    _Field.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _Field.TYPE_FLOAT: {"type": "number", "format": "float"},
    _Field.TYPE_INT32: {"type": "integer", "format": "int32"},
    _Field.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"},
    _Field.TYPE_STRING: {"type": "string"},
}
_WELL_KNOWN: Mapping[str, Json] = {
    ".google.protobuf.Duration": {"type": "string"},
    ".google.protobuf.Struct": {"type": "object"},
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
}
_STATUS: Json = {
    "type": "object",
    "description": "What went wrong: google.rpc.Status.",
    "properties": {
        "code": {"type": "integer", "description": "The code of gRPC, such as 3 for INVALID_ARGUMENT."},
        "message": {"type": "string", "description": "For people: what was wrong, and what to do."},
        "details": {
            "type": "array",
            "items": {"type": "object", "properties": {"@type": {"type": "string"}}},
            "description": "google.rpc.ErrorInfo with the reason, google.rpc.BadRequest with the fields, "
            "google.rpc.RetryInfo with the time after which to try again.",
        },
    },
    "required": ["code", "message"],
}


@dataclass(frozen=True)
class Contract:
    """The compiled contract by full names, with comments."""

    messages: dict[str, _Message]
    enumerations: dict[str, descriptor_pb2.EnumDescriptorProto]
    comments: dict[str, str]
    """Of messages, fields (MESSAGE.field), values and methods (SERVICE.Method)."""

    @classmethod
    def of(cls, image: descriptor_pb2.FileDescriptorSet) -> "Contract":
        """Of an image with source information."""
        contract = cls({}, {}, {})
        for file in image.file:
            contract._add(file)
        return contract

    def _add(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        said = {tuple(each.path): _one_line(each.leading_comments) for each in file.source_code_info.location}
        package = f".{file.package}"
        for index, message in enumerate(file.message_type):
            self._add_message(message, f"{package}.{message.name}", (4, index), said)
        for index, enumeration in enumerate(file.enum_type):
            self._add_enumeration(enumeration, f"{package}.{enumeration.name}", (5, index), said)
        for index, service in enumerate(file.service):
            for position, method in enumerate(service.method):
                comment = said.get((6, index, 2, position), "")
                self.comments[f"{package}.{service.name}.{method.name}"] = comment

    def _add_message(
        self, message: _Message, name: str, path: tuple[int, ...], said: Mapping[tuple[int, ...], str]
    ) -> None:
        self.messages[name] = message
        self.comments[name] = said.get(path, "")
        for index, field in enumerate(message.field):
            self.comments[f"{name}.{field.name}"] = said.get((*path, 2, index), "")
        for index, nested in enumerate(message.nested_type):
            self._add_message(nested, f"{name}.{nested.name}", (*path, 3, index), said)
        for index, enumeration in enumerate(message.enum_type):
            self._add_enumeration(enumeration, f"{name}.{enumeration.name}", (*path, 4, index), said)

    def _add_enumeration(
        self,
        enumeration: descriptor_pb2.EnumDescriptorProto,
        name: str,
        path: tuple[int, ...],
        said: Mapping[tuple[int, ...], str],
    ) -> None:
        self.enumerations[name] = enumeration
        self.comments[name] = said.get(path, "")


def _one_line(comment: str) -> str:
    return " ".join(comment.split())


def document(image: descriptor_pb2.FileDescriptorSet, version: str) -> Json:
    """The OpenAPI document of the gateway in an image with source information."""
    (file,) = (file for file in image.file if file.name == SERVICE_FILE)
    (service,) = file.service
    contract = Contract.of(image)
    name = f".{file.package}.{service.name}"
    paths: dict[str, Json] = {}
    for method in service.method:
        for verb, path, operation in _operations(contract, name, method):
            paths.setdefault(path, {})[verb] = operation
    asked = _reachable(contract, (method.input_type for method in service.method))
    answered = _reachable(contract, (method.output_type for method in service.method))
    schemas = {_key(each): _schema(contract, each, closed=each not in answered) for each in sorted(asked | answered)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "VecSec",
            "version": version,
            "description": contract.comments.get(name, "") or "Secured vector retrieval.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://localhost:8080"}],
        "security": [{"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {**schemas, "google.rpc.Status": _STATUS},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operations(
    contract: Contract, service: str, method: descriptor_pb2.MethodDescriptorProto
) -> Iterator[tuple[str, str, Json]]:
    """Verb, path and operation of each way to call a method."""
    rule: http_pb2.HttpRule = method.options.Extensions[annotations_pb2.http]
    for number, binding in enumerate((rule, *rule.additional_bindings)):
        verb = binding.WhichOneof("pattern")
        template: str = getattr(binding, verb)
        message = contract.messages[method.input_type]
        in_path = [field for field in message.field if f"{{{field.name}}}" in template]
        operation: Json = {
            "operationId": method.name + ("" if number == 0 else f"By{verb.title()}"),
            "description": contract.comments[f"{service}.{method.name}"],
            "parameters": [_parameter(contract, method.input_type, each, "path") for each in in_path],
            "responses": _responses(method),
        }
        if binding.body:
            operation["requestBody"] = _body(method)
        else:
            others = [field for field in message.field if field not in in_path and _fits_a_query(field)]
            operation["parameters"] += [_parameter(contract, method.input_type, each, "query") for each in others]
        for field in in_path:
            template = template.replace(f"{{{field.name}}}", f"{{{field.json_name}}}")
        yield verb, template, operation


def _responses(method: descriptor_pb2.MethodDescriptorProto) -> Json:
    answer: Json = {"$ref": _reference(method.output_type)}
    if method.server_streaming:
        answer = {"type": "array", "items": answer}
    error = {"$ref": "#/components/schemas/google.rpc.Status"}
    return {
        "200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}},
        "default": {"description": "What went wrong.", "content": {"application/json": {"schema": error}}},
    }


def _body(method: descriptor_pb2.MethodDescriptorProto) -> Json:
    schema: Json = {"$ref": _reference(method.input_type)}
    if method.client_streaming:
        schema = {
            "type": "array",
            "items": schema,
            "minItems": 1,
            "maxItems": 1,
            "description": "One batch. Names in the path hold for the first alone; errors of later ones are not told.",
        }
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _fits_a_query(field: _Field) -> bool:
    """Messages, such as filters, do not: they are sent by POST."""
    return field.type != _Field.TYPE_MESSAGE or field.type_name in _WELL_KNOWN


def _parameter(contract: Contract, message: str, field: _Field, place: str) -> Json:
    return {
        "name": field.json_name,
        "in": place,
        "required": place == "path",
        "description": contract.comments[f"{message}.{field.name}"],
        "schema": _type(contract, field),
    }


def _schema(contract: Contract, name: str, *, closed: bool) -> Json:
    """Of a message or an enumeration. What is only sent is closed: a name that the contract has not is a mistake."""
    said = {"description": contract.comments[name]} if contract.comments[name] else {}
    if name in contract.enumerations:
        return {"type": "string", **said, "enum": [value.name for value in contract.enumerations[name].value]}
    properties = {
        field.json_name: {**_type(contract, field), "description": contract.comments[f"{name}.{field.name}"]}
        for field in contract.messages[name].field
    }
    return {"type": "object", **said, "properties": properties} | ({"additionalProperties": False} if closed else {})


def _type(contract: Contract, field: _Field) -> Json:
    entry = contract.messages.get(field.type_name) if field.type == _Field.TYPE_MESSAGE else None
    if entry is not None and entry.options.map_entry:
        return {"type": "object", "additionalProperties": _single(entry.field[1])}
    single = _single(field)
    return {"type": "array", "items": single} if field.label == _Field.LABEL_REPEATED else single


def _single(field: _Field) -> Json:
    if field.type_name in _WELL_KNOWN:
        return dict(_WELL_KNOWN[field.type_name])
    if field.type_name:
        return {"$ref": _reference(field.type_name)}
    return dict(_SCALARS[field.type])


def _reachable(contract: Contract, names: Iterator[str]) -> Set[str]:
    """Messages and enumerations by which these are made, themselves included; entries of maps are none."""
    found: set[str] = set()
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name in found or name in _WELL_KNOWN:
            continue
        message = contract.messages.get(name)
        if message is None or not message.options.map_entry:
            found.add(name)
        wanted += [field.type_name for field in message.field if field.type_name] if message is not None else []
    return found


def _key(name: str) -> str:
    return name.removeprefix(".")


def _reference(name: str) -> str:
    return f"#/components/schemas/{_key(name)}"
