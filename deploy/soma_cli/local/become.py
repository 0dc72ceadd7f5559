"""A child's first instant: drop rights, tie its life to the parent's, then become the part's program.

Run as a script by `process.py` and never imported: it needs nothing but the standard library, and starts with
`-I -S` in about 15 ms. Doing this here and not between fork and exec of the parent keeps the parent free to
have threads.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become a program.

    Args:
        arguments: The parent's process id, the signal to get when it ends, `uid:gid` to run as or `-`, then
            the program with its arguments.
    """
    parent, death_signal, account, *command = arguments
    if account != "-":
        uid, gid = (int(part) for part in account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of user, which clears it. Elsewhere the next start ends what was left over.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the parent ended before its child had begun")
    os.execv(command[0], command)  # noqa: S606  # no shell is what we want


if __name__ == "__main__":
    main(sys.argv[1:])
