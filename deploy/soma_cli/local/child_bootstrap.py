"""Runs in a child process before its program: drops rights, ties it to its parent, then execs.

Run as a script by `process.py` and never imported: it needs nothing but the standard library, and starts with
`-I -S` in about 15 ms. Doing this here and not between fork and exec of the parent keeps the parent free to
have threads.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522


def main(arguments: list[str]) -> None:
    """Become a program.

    Args:
        arguments: The parent's process id, the signal to get when it ends, `uid:gid` to run as or `-`, then
            the program with its arguments.
    """
    parent, death_signal, account, *command = arguments
    if account != "-":
        uid, gid = (int(part) for part in account.split(":"))
        _run_as(uid, gid)
    if sys.platform == "linux":
        # After the change of user, which clears it. Elsewhere the next start ends what was left over.
        _prctl(_PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != int(parent):
        sys.exit("the parent ended before its child had begun")
    os.execv(command[0], command)  # noqa: S606  # no shell is what we want


def _run_as(uid: int, gid: int) -> None:
    if sys.platform == "linux":
        _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if sys.platform == "linux":
        _keep_one_capability()


def _keep_one_capability() -> None:
    """Of all that root may do, keep passing through folders that are closed to the new user.

    The data may lie below root's own home, or below a folder that somebody closes while we run. Opening all
    those folders to everyone instead would change what is not ours, and end with the next `chmod`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    # Containers commonly have the second and not the first.
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        bits = 1 << capability
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        # Effective, permitted and inheritable, for capabilities 0 to 31, then for those above.
        data = (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0)
        if libc.capset(header, data) == 0:
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)
            return


def _prctl(option: int, *arguments: int) -> None:
    # The kernel refuses calls whose unused arguments are not 0.
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    ctypes.CDLL(None, use_errno=True).prctl(option, *padded)


if __name__ == "__main__":
    main(sys.argv[1:])
