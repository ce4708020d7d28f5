"""Becomes a program to which the kernel refuses system calls, as a sandbox does: `refusing.py EPERM fsync,… COMMAND …`.

The filter (seccomp) outlives the exec.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

NUMBERS = {
    "x86_64": {"fsync": 74, "fdatasync": 75},
    "aarch64": {"fsync": 82, "fdatasync": 83},
}
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_REFUSE, _ALLOW = 0x00050000, 0x7FFF0000
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2


def main(arguments: list[str]) -> None:
    number, names, *command = arguments
    refused = [NUMBERS[platform.machine()][name] for name in names.split(",")]
    program = [struct.pack("HBBI", _LOAD, 0, 0, 0)]
    program += [
        struct.pack("HBBI", _JUMP_IF_EQUAL, len(refused) - place, 0, each) for place, each in enumerate(refused)
    ]
    program += [struct.pack("HBBI", _RETURN, 0, 0, _ALLOW)]
    program += [struct.pack("HBBI", _RETURN, 0, 0, _REFUSE | getattr(errno, number))]
    filters = ctypes.create_string_buffer(b"".join(program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(_SECCOMP, _FILTER, ctypes.c_char_p(header), 0, 0):
        sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
