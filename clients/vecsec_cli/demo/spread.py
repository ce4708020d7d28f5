"""The visible rule by which the standard library is spread over tenants, topics and sensitivities.

Tenant and topics: the longest prefix of the module's name in `SPREAD` decides; what is not listed is `python_core`,
topic `language`.

Sensitivity: by kind and name.

* PUBLIC: modules and classes with public names
* INTERNAL: functions and methods with public names
* CONFIDENTIAL: names with a leading underscore in their path, such as `json.encoder._make_iterencode`
* SECRET: special methods (`__init__`), and everything in a module with a leading underscore
"""

from dataclasses import dataclass

from vecsec_cli.demo.definitions import Definition, DefinitionKind


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a module's documentation goes."""

    tenant_id: str
    topics: tuple[str, ...]


def _table(tenant_id: str, modules_by_topics: dict[str, str]) -> dict[str, Placement]:
    return {
        module: Placement(tenant_id, tuple(topics.split()))
        for topics, modules in modules_by_topics.items()
        for module in modules.split()
    }


SPREAD: dict[str, Placement] = {
    **_table(
        "python_net",
        {
            "concurrency": "concurrent contextvars multiprocessing threading _threading_local",
            "concurrency networking": "asyncio",
            "networking": "asynchat asyncore ftplib ipaddress nntplib select selectors socket socketserver telnetlib",
            "networking security": "ssl",
            "mail": "email imaplib mailbox mailcap mimetypes poplib smtpd smtplib",
            "security": "crypt getpass hashlib hmac netrc secrets",
            "web": "cgi cgitb html http urllib uuid webbrowser wsgiref xmlrpc",
        },
    ),
    **_table(
        "python_data",
        {
            "formats": "base64 binascii codecs configparser csv encodings json plistlib quopri struct tomllib uu "
            "xdrlib xml",
            "formats media": "aifc chunk colorsys imghdr sndhdr sunau wave",
            "formats storage": "copyreg marshal pickle pickletools",
            "numbers": "_pydecimal cmath decimal fractions math numbers random statistics",
            "storage": "bz2 _compression dbm gzip lzma shelve sqlite3 tarfile zipfile zlib",
            "structures": "array bisect collections _collections_abc dataclasses heapq queue",
            "time": "calendar datetime _pydatetime _strptime sched time zoneinfo",
        },
    ),
    **_table(
        "python_core",
        {
            "interface": "cmd curses tkinter turtle",
            "packaging": "distutils imp importlib pkgutil site venv zipapp zipimport",
            "system": "argparse ctypes fileinput glob io _pyio logging ntpath optparse os pathlib platform posixpath "
            "shutil signal stat subprocess sys sysconfig tempfile",
            "testing": "bdb cProfile doctest faulthandler pdb profile pstats timeit trace tracemalloc unittest",
            "text": "difflib gettext locale pprint re reprlib shlex string stringprep textwrap unicodedata",
        },
    ),
}
ELSEWHERE = Placement("python_core", ("language",))

TENANTS = ("python_core", "python_data", "python_net")


def placement(module: str) -> Placement:
    """The tenant and topics of a module, by the longest listed prefix of its name."""
    name = module
    while name:
        if name in SPREAD:
            return SPREAD[name]
        name = name.rpartition(".")[0]
    return ELSEWHERE


def sensitivity(definition: Definition) -> str:
    """The sensitivity of a definition, by its kind and name."""
    own_name = definition.qualified_name.rpartition(".")[2]
    if definition.module.startswith("_") or own_name.startswith("__"):
        return "SECRET"
    if any(part.startswith("_") for part in definition.qualified_name.split(".")):
        return "CONFIDENTIAL"
    return "PUBLIC" if definition.kind in {DefinitionKind.MODULE, DefinitionKind.CLASS} else "INTERNAL"
