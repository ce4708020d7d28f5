"""Compile the contracts: Python stubs into `protos/gen`, and the image that buf lints and compares.

    python protos/generate.py            write the stubs, what the transcoding proxy reads, the OpenAPI document
    python protos/generate.py --check    exit 1 if those in the tree are not what the contracts give
    python protos/generate.py --image F  write the descriptor image that `buf lint` and `buf breaking` read

`buf/validate/validate.proto` is taken from the descriptor that the installed protovalidate package carries, so that
nothing has to be fetched and rules and validator can never be of different versions. No stubs are made of it: those of
the contracts carry their rules without importing it.
"""

import argparse
import filecmp
import json
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import openapi
from google.api import annotations_pb2, http_pb2
from google.protobuf import any_pb2, descriptor_pb2, duration_pb2, struct_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_tools import protoc
from protovalidate import ViolationPb

PROTO_ROOT = Path(__file__).resolve().parent
STUBS = PROTO_ROOT / "gen"
TRANSCODED = PROTO_ROOT.parent / "deploy" / "http" / "gateway.binpb"
"""The gateway's contract as Envoy reads it."""
OPENAPI = PROTO_ROOT.parent / "docs" / "reference" / "openapi.json"
VALIDATE = ViolationPb.desc().file


def write_validate_descriptors(target: Path) -> None:
    """Write validate.proto, and Google's files that it and the contracts import, as a serialized FileDescriptorSet."""
    descriptors = descriptor_pb2.FileDescriptorSet()
    for file in (*VALIDATE.dependencies, VALIDATE):
        descriptors.file.add().ParseFromString(file.proto.to_binary())
    for google in (struct_pb2, http_pb2, annotations_pb2):
        google.DESCRIPTOR.CopyToProto(descriptors.file.add())
    target.write_bytes(descriptors.SerializeToString())


def contract_files() -> list[str]:
    return sorted(str(path.relative_to(PROTO_ROOT)) for path in (PROTO_ROOT / "vecsec").rglob("*.proto"))


def run_protoc(*arguments: str) -> None:
    """Run protoc over the contracts.

    The contracts' own sources come first in the import path; validate.proto's descriptor is compiled in beside them.
    protoc cannot mix sources and descriptor sets for one file, which is why each is found in exactly one of the two.
    """
    with tempfile.TemporaryDirectory() as folder:
        validate = Path(folder) / "validate.binpb"
        write_validate_descriptors(validate)
        compile_with(f"--descriptor_set_in={validate}", f"--proto_path={PROTO_ROOT}", *arguments, *contract_files())


def compile_with(*arguments: str) -> None:
    status = protoc.main(["protoc", *arguments])
    if status != 0:
        sys.exit(status)


def write_image(target: Path) -> None:
    run_protoc(f"--descriptor_set_out={target}", "--include_imports", "--include_source_info")


def forget_validate(image: Path) -> None:
    """Take validate.proto out of an image, and its import out of the contracts; their rules stay, as options.

    Whoever imports stubs of validate.proto puts that file into the process's one descriptor pool, where a second one of
    another version, such as other packages carry under the same name, is an error. The rules are read by protovalidate
    alone, which knows validate.proto itself.
    """
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    kept = [file for file in descriptors.file if file.name != VALIDATE.name]
    for file in kept:
        if VALIDATE.name in file.dependency:
            file.dependency.remove(VALIDATE.name)
        for message in file.message_type:
            forget_usual_json_names(message)
    image.write_bytes(descriptor_pb2.FileDescriptorSet(file=kept).SerializeToString())


def forget_usual_json_names(message: descriptor_pb2.DescriptorProto) -> None:
    """Images spell out every field's name in JSON, which makes grpcurl print that name instead of the contract's."""
    for field in message.field:
        if field.json_name == re.sub("_(.)", lambda letter: letter[1].upper(), field.name):
            field.ClearField("json_name")
    for nested in message.nested_type:
        forget_usual_json_names(nested)


def generate(target: Path) -> None:
    """Write stubs, type stubs and package markers below `target`."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "contracts.binpb"
        write_image(image)
        forget_validate(image)
        compile_with(
            f"--descriptor_set_in={image}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet:{target}",
            *contract_files(),
        )
    for path in target.rglob("*_pb2_grpc.py"):
        if re.search(r"class \w+Stub", path.read_text()) is None:
            path.unlink()
            path.with_suffix(".pyi").unlink(missing_ok=True)
    for folder in (path for path in target.rglob("vecsec*/**") if path.is_dir()):
        (folder / "__init__.py").touch()
    (target / "vecsec" / "py.typed").touch()


def write_transcoded(target: Path) -> None:
    """Write the gateway's contract with all that it imports, and with what errors are made of."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "contracts.binpb"
        run_protoc(f"--descriptor_set_out={image}", "--include_imports")
        forget_validate(image)
        known = {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file}
    for google in (any_pb2, duration_pb2, status_pb2, error_details_pb2):
        known[google.DESCRIPTOR.name] = descriptor_pb2.FileDescriptorProto.FromString(google.DESCRIPTOR.serialized_pb)
    ours = (openapi.SERVICE_FILE, "vecsec/type/v1/error_reason.proto")
    roots = (*ours, status_pb2.DESCRIPTOR.name, error_details_pb2.DESCRIPTOR.name)
    needed = dict.fromkeys(name for root in roots for name in imported(known, root))
    target.write_bytes(
        descriptor_pb2.FileDescriptorSet(file=[known[name] for name in needed]).SerializeToString(deterministic=True)
    )


def write_openapi(target: Path) -> None:
    """Write the OpenAPI document of the gateway."""
    version = tomllib.loads((PROTO_ROOT.parent / "pyproject.toml").read_text())["project"]["version"]
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "contracts.binpb"
        write_image(image)
        descriptors = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    target.write_text(json.dumps(openapi.document(descriptors, version), indent=1, ensure_ascii=False) + "\n")


FURTHER = {TRANSCODED: write_transcoded, OPENAPI: write_openapi}
"""What is made of the contracts beside stubs."""


def stale_files(folder: Path) -> list[str]:
    """Names of generated files in the tree that are not what the contracts give; these are written to `folder`."""
    generate(folder / "stubs")
    stale = differences(folder / "stubs", STUBS)
    for target, write in FURTHER.items():
        write(folder / target.name)
        if not target.is_file() or not filecmp.cmp(folder / target.name, target, shallow=False):
            stale.append(target.name)
    return stale


def imported(known: Mapping[str, descriptor_pb2.FileDescriptorProto], name: str) -> Iterator[str]:
    """A file and what it imports, that first."""
    for dependency in known[name].dependency:
        yield from imported(known, dependency)
    yield name


def differences(left: Path, right: Path) -> list[str]:
    """Relative paths of files that differ or exist on one side only."""
    names = {
        str(path.relative_to(root))
        for root in (left, right)
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(
        name
        for name in names
        if not (left / name).is_file()
        or not (right / name).is_file()
        or not filecmp.cmp(left / name, right / name, shallow=False)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--image", type=Path)
    options = parser.parse_args()
    if options.image:
        write_image(options.image)
    elif options.check:
        with tempfile.TemporaryDirectory() as folder:
            stale = stale_files(Path(folder))
        if stale:
            sys.exit("These are not current; run `make protos`:\n  " + "\n  ".join(stale))
    else:
        shutil.rmtree(STUBS, ignore_errors=True)
        generate(STUBS)
        for target, write in FURTHER.items():
            write(target)


if __name__ == "__main__":
    main()
