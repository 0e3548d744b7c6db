"""A program made by hand: a small ELF file for x86-64 Linux, which needs no library and prints one
text."""

import struct

_BASE = 0x400000
_HEADERS = 64 + 56


def program_that_prints(text: str, *, machine: int = 62) -> bytes:
    """write(1, text, len); exit(0). machine: e_machine; another than 62 does not run here."""
    message = text.encode()
    code = b"".join(
        (
            b"\xb8\x01\x00\x00\x00",  # mov eax, 1 (write)
            b"\xbf\x01\x00\x00\x00",  # mov edi, 1
            b"\x48\x8d\x35" + struct.pack("<i", 16),  # lea rsi, [rip + 16]: behind the code
            b"\xba" + struct.pack("<I", len(message)),  # mov edx, len
            b"\x0f\x05",  # syscall
            b"\xb8\x3c\x00\x00\x00",  # mov eax, 60 (exit)
            b"\x31\xff",  # xor edi, edi
            b"\x0f\x05",  # syscall
        )
    )
    size = _HEADERS + len(code) + len(message)
    header = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + segment + code + message
