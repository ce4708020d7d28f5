"""The flag file in flagd's format: read, judged as a whole, and held by flagd's own evaluator.

flagd's provider for Python can watch a file itself, but its watcher compares modification times and looks at nothing
else (tried with 0.6.1): a rollback to an older file is never seen, a removed file leaves the last value in force, and
a broken one is logged twice a second for ever. So the provider's evaluator is kept and its watcher is not.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.contrib.provider.flagd.resolvers import InProcessResolver
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, OpenFeatureError

FLAG_KEY = "use_real_vector_retrieval"
TENANT_ATTRIBUTE = "tenant_id"

FlagDocument = Mapping[str, Any]
NO_FLAGS: FlagDocument = {"flags": {}}
OFF: FlagDocument = {
    "flags": {FLAG_KEY: {"state": "ENABLED", "variants": {"off": False}, "defaultVariant": "off", "targeting": {}}}
}
"""In the place of a file that is lost."""


class BrokenFlagFile(Exception):
    """The flag file cannot be read or is not what it should be; the message says why, in one line."""


def parse_document(content: bytes, *, is_yaml: bool = False) -> FlagDocument:
    """Read a flag file whole and try it on a tenant, so that a bad file is refused before it is in force.

    Raises:
        BrokenFlagFile: if it is not a flag file, or if its rules for our flag do not give true or false.
    """
    try:
        document = yaml.safe_load(content) if is_yaml else json.loads(content)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise BrokenFlagFile(f"not {'YAML' if is_yaml else 'JSON'}: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or not isinstance(document.get("flags"), dict):
        raise BrokenFlagFile("it must be an object with an object `flags` in it")
    _check_variants(document["flags"].get(FLAG_KEY))
    _try_rules(document)
    return document


def _check_variants(flag: object) -> None:
    """flagd looks at a variant only when a rule picks it; we want to know at once."""
    if flag is None:
        return
    if not isinstance(flag, dict):
        raise BrokenFlagFile(f"flag {FLAG_KEY}: must be an object")
    variants = flag.get("variants")
    if not isinstance(variants, dict) or not all(isinstance(value, bool) for value in variants.values()):
        raise BrokenFlagFile(f"flag {FLAG_KEY}: each of its variants must be true or false")
    default = flag.get("defaultVariant")
    if default and default not in variants:
        raise BrokenFlagFile(f"flag {FLAG_KEY}: defaultVariant {default!r} is not among its variants")


def _try_rules(document: FlagDocument) -> None:
    evaluator = FlagdCore()
    try:
        evaluator.set_flags(json.dumps(document))
        evaluator.resolve_boolean_value(FLAG_KEY, True)
        evaluator.resolve_boolean_value(FLAG_KEY, True, tenant_context("any"))
    except FlagNotFoundError:
        return  # a file for other flags leaves ours to the environment
    except (OpenFeatureError, TypeError, ValueError, AttributeError) as error:
        reason = getattr(error, "error_message", None) or str(error) or type(error).__name__
        raise BrokenFlagFile(f"flagd refuses it: {reason}") from error


def tenant_context(tenant_id: str) -> EvaluationContext:
    """What the rules in the file can target."""
    return EvaluationContext(targeting_key=tenant_id, attributes={TENANT_ATTRIBUTE: tenant_id})


class _NoWatcher:
    """Stands where the provider's own watcher would: flags are put by `PutFlagsProvider.put`."""

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Nothing to start."""

    def shutdown(self) -> None:
        """Nothing to stop."""


class PutFlagsProvider(FlagdProvider):
    """flagd's provider in file mode, given its flags instead of watching for them."""

    def __init__(self, path: Path) -> None:
        super().__init__(resolver_type=ResolverType.FILE, offline_flag_source_path=str(path))

    def setup_resolver(self) -> InProcessResolver:
        """The in-process resolver without its watcher."""
        resolver = InProcessResolver(
            self.config,
            self.emit_provider_ready_with_context,
            self.emit_provider_error,
            self.emit_provider_stale,
            self.emit_provider_configuration_changed,
        )
        resolver.connector = _NoWatcher()
        self._evaluator = resolver.evaluator
        return resolver

    def put(self, document: FlagDocument) -> None:
        """Replace all flags by those of a document from `parse_document`."""
        self._evaluator.set_flags(json.dumps(document))
