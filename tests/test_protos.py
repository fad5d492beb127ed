"""The protos keep the house rules: every element has a comment, names follow one scheme.

Reads a descriptor set that protoc makes from protos/ with the comments in it. Comments are found by
path: the field numbers and indexes that lead from the file to the element (SourceCodeInfo in
descriptor.proto).
"""

import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent.parent / "protos"
TIMESTAMP = ".google.protobuf.Timestamp"
READING_RPC = re.compile("Get|List|Check|Export|Watch|Claim|Report|GiveBack")

# Field numbers in descriptor.proto, the first halves of the steps of a path.
SYNTAX = FileDescriptorProto.SYNTAX_FIELD_NUMBER
FILE_MESSAGE = FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER
FILE_ENUM = FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER
FILE_SERVICE = FileDescriptorProto.SERVICE_FIELD_NUMBER
MESSAGE_FIELD = DescriptorProto.FIELD_FIELD_NUMBER
MESSAGE_NESTED = DescriptorProto.NESTED_TYPE_FIELD_NUMBER
MESSAGE_ENUM = DescriptorProto.ENUM_TYPE_FIELD_NUMBER
MESSAGE_ONEOF = DescriptorProto.ONEOF_DECL_FIELD_NUMBER
ENUM_VALUE = EnumDescriptorProto.VALUE_FIELD_NUMBER
SERVICE_METHOD = ServiceDescriptorProto.METHOD_FIELD_NUMBER

Described = (
    FileDescriptorProto
    | DescriptorProto
    | FieldDescriptorProto
    | EnumDescriptorProto
    | ServiceDescriptorProto
    | MethodDescriptorProto
)


class Element(NamedTuple):
    """Something that carries a comment: its full name, its path and its description."""

    name: str
    path: tuple[int, ...]
    described: Described


def elements_of_file(file: FileDescriptorProto) -> Iterator[Element]:
    """Yield the file itself and everything declared in it, at any depth."""
    yield Element(file.name, (SYNTAX,), file)
    for index, message in enumerate(file.message_type):
        yield from elements_of_message(message, file.package, (FILE_MESSAGE, index))
    for index, enum in enumerate(file.enum_type):
        yield from elements_of_enum(enum, file.package, (FILE_ENUM, index))
    for index, service in enumerate(file.service):
        name, path = f"{file.package}.{service.name}", (FILE_SERVICE, index)
        yield Element(name, path, service)
        yield from members(service.method, name, path, SERVICE_METHOD)


def elements_of_message(
    message: DescriptorProto, scope: str, path: tuple[int, ...]
) -> Iterator[Element]:
    """Yield a message and its members, except what protoc makes up for maps and `optional`."""
    if message.options.map_entry:
        return
    name = f"{scope}.{message.name}"
    made_up = {field.oneof_index for field in message.field if field.proto3_optional}
    yield Element(name, path, message)
    yield from members(message.field, name, path, MESSAGE_FIELD)
    for index, oneof in enumerate(message.oneof_decl):
        if index not in made_up:
            yield Element(f"{name}.{oneof.name}", (*path, MESSAGE_ONEOF, index), oneof)
    for index, nested in enumerate(message.nested_type):
        yield from elements_of_message(nested, name, (*path, MESSAGE_NESTED, index))
    for index, enum in enumerate(message.enum_type):
        yield from elements_of_enum(enum, name, (*path, MESSAGE_ENUM, index))


def elements_of_enum(
    enum: EnumDescriptorProto, scope: str, path: tuple[int, ...]
) -> Iterator[Element]:
    """Yield an enum and its values."""
    name = f"{scope}.{enum.name}"
    yield Element(name, path, enum)
    yield from members(enum.value, name, path, ENUM_VALUE)


def members(
    described: Sequence[Described], scope: str, path: tuple[int, ...], step: int
) -> Iterator[Element]:
    """Yield the leaves of one kind in an element."""
    for index, member in enumerate(described):
        yield Element(f"{scope}.{member.name}", (*path, step, index), member)


def assert_none(wrong: list[str], what: str) -> None:
    """Fail with the whole list, which pytest would cut."""
    assert not wrong, f"{what}:\n  " + "\n  ".join(wrong)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    """Every file under protos/, compiled, with its comments."""
    names = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    out = tmp_path_factory.mktemp("protos") / "descriptors"
    well_known = resources.files("grpc_tools") / "_proto"
    arguments = ["protoc", f"-I{PROTOS}", f"-I{well_known}", "--include_source_info"]
    assert protoc.main([*arguments, f"--descriptor_set_out={out}", *names]) == 0
    compiled = FileDescriptorSet.FromString(out.read_bytes())
    assert (
        sorted(file.name for file in compiled.file)  # those that others import come first
        == names
        == ["ownerd/v1/admin.proto", "ownerd/v1/dial.proto"]
    )
    return list(compiled.file)


@pytest.fixture(scope="module")
def elements(files: list[FileDescriptorProto]) -> list[Element]:
    """Every element of every file."""
    return [element for file in files for element in elements_of_file(file)]


@pytest.fixture(scope="module")
def fields(elements: list[Element]) -> list[tuple[str, FieldDescriptorProto]]:
    """Every field with its full name."""
    return [
        (element.name, element.described)
        for element in elements
        if isinstance(element.described, FieldDescriptorProto)
    ]


@pytest.fixture(scope="module")
def rpcs(files: list[FileDescriptorProto]) -> list[MethodDescriptorProto]:
    """Every rpc."""
    return [rpc for file in files for service in file.service for rpc in service.method]


@pytest.fixture(scope="module")
def field_names(files: list[FileDescriptorProto]) -> dict[str, set[str]]:
    """The names of each top-level message's fields, by the message's name."""
    return {
        message.name: {field.name for field in message.field}
        for file in files
        for message in file.message_type
    }


def test_every_element_has_a_leading_comment(files: list[FileDescriptorProto]) -> None:
    bare = []
    for file in files:
        comments = {
            tuple(location.path): location.leading_comments.strip()
            for location in file.source_code_info.location
        }
        bare += [element.name for element in elements_of_file(file) if not comments[element.path]]
    assert_none(bare, "without a leading comment")


def test_protos_keep_the_line_length() -> None:
    long = [
        f"{path.name}:{number}"
        for path in PROTOS.rglob("*.proto")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(line) > 100
    ]
    assert_none(long, "over 100 columns")


def test_enum_values_carry_their_enums_name_and_zero_is_unspecified(
    elements: list[Element],
) -> None:
    enums = [e.described for e in elements if isinstance(e.described, EnumDescriptorProto)]
    assert len(enums) >= 5
    for enum in enums:
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
        assert (enum.value[0].name, enum.value[0].number) == (f"{prefix}UNSPECIFIED", 0)
        values = [value.name for value in enum.value]
        assert_none([v for v in values if not v.startswith(prefix)], f"without {prefix}")


def test_timestamps_and_only_timestamps_are_named_time(
    fields: list[tuple[str, FieldDescriptorProto]],
) -> None:
    wrong = [
        name
        for name, field in fields
        if (field.type_name == TIMESTAMP)
        != (field.name == "time" or field.name.endswith(("_time", "_until")))
    ]
    assert_none(wrong, "a Timestamp not named time, or a time that is none")


def test_counts_and_sizes_are_int64(fields: list[tuple[str, FieldDescriptorProto]]) -> None:
    wrong = [
        name
        for name, field in fields
        if field.name.endswith(("_count", "_bytes")) and field.type != field.TYPE_INT64
    ]
    assert_none(wrong, "not int64")


def test_every_rpc_has_a_request_and_a_response_of_its_name(
    rpcs: list[MethodDescriptorProto],
) -> None:
    wrong = [
        rpc.name
        for rpc in rpcs
        if (rpc.input_type, rpc.output_type)
        != (f".ownerd.v1.{rpc.name}Request", f".ownerd.v1.{rpc.name}Response")
    ]
    assert_none(wrong, "rpcs with other messages than <Rpc>Request and <Rpc>Response")


def test_pages_are_asked_for_and_answered_alike(field_names: dict[str, set[str]]) -> None:
    paged = {name for name, names in field_names.items() if "page_token" in names}
    answered = {name for name, names in field_names.items() if "next_page_token" in names}
    assert all("page_size" in field_names[name] for name in paged)
    assert answered == {name.replace("Request", "Response") for name in paged} != set()


# BackupStore leaves an entry, but changes nothing that a repeat could change again.
UNAUDITED = {"BackupStoreRequest", "DiagnoseRequest", "SetLogLevelRequest", "WhoAmIRequest"}


def test_r20_r21_every_admin_change_takes_a_reason_and_a_request_id(
    rpcs: list[MethodDescriptorProto], field_names: dict[str, set[str]]
) -> None:
    changes = [f"{rpc.name}Request" for rpc in rpcs if not READING_RPC.match(rpc.name)]
    # No changes of the store, and with no entry in the audit.
    changes = [name for name in changes if name not in UNAUDITED]
    assert len(changes) == 20
    wrong = [name for name in changes if not {"reason", "request_id"} <= field_names[name]]
    assert_none(wrong, "without reason and request_id")
