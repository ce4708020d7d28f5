"""The contracts as reflection shows them: with the rules that stand in them."""

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from protovalidate import ViolationPb

_OURS = "vecsec/"
_RULES = ViolationPb.desc().file
_FILES_OF_RULES = {file.name: file.proto for file in (_RULES, *_RULES.dependencies)}


def reflected_contracts() -> descriptor_pool.DescriptorPool:
    """All that this process knows, in a pool of its own in which our contracts import what defines their rules.

    The stubs do not import it (`protos/generate.py` says why), so that without this nobody could read the rules.
    """
    return descriptor_pool.DescriptorPool(_FilesWithRules())


class _FilesWithRules:
    """Where the pool finds files; what is not there is a KeyError, as the pool expects."""

    def FindFileByName(self, name: str) -> FileDescriptorProto:  # noqa: N802 - protobuf's name
        if name in _FILES_OF_RULES:
            return FileDescriptorProto.FromString(_FILES_OF_RULES[name].to_binary())
        definition = FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(name).CopyToProto(definition)
        if name.startswith(_OURS):
            definition.dependency.append(_RULES.name)
        return definition

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptorProto:  # noqa: N802 - protobuf's name
        return self.FindFileByName(descriptor_pool.Default().FindFileContainingSymbol(symbol).name)
