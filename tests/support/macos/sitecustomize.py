"""Linux that looks like a Mac to this project, for a process that finds this first on its
PYTHONPATH, and for its children.

What Linux alone has is gone. Libraries, which were built for Linux, are answered as before where
they could not work otherwise: /proc, `platform.system()`. PNAS_STANDIN_FLOCK=ENOLCK makes every
lock fail with that.
"""

import builtins
import errno
import fcntl
import io
import os
import platform
import resource
import signal
import sys
from pathlib import Path

import psutil

PACKAGE = f"{os.sep}pnas_tf{os.sep}"
STANDARD_LIBRARY = os.path.dirname(os.__file__)
ERRNO = """E2BIG EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF EBADMSG EBUSY
ECANCELED ECHILD ECONNABORTED ECONNREFUSED ECONNRESET EDEADLK EDESTADDRREQ EDOM EDQUOT EEXIST EFAULT
EFBIG EHOSTDOWN EHOSTUNREACH EIDRM EILSEQ EINPROGRESS EINTR EINVAL EIO EISCONN EISDIR ELOOP EMFILE
EMLINK EMSGSIZE EMULTIHOP ENAMETOOLONG ENETDOWN ENETRESET ENETUNREACH ENFILE ENOBUFS ENODATA ENODEV
ENOENT ENOEXEC ENOLCK ENOLINK ENOMEM ENOMSG ENOPROTOOPT ENOSPC ENOSR ENOSTR ENOSYS ENOTBLK ENOTCONN
ENOTDIR ENOTEMPTY ENOTRECOVERABLE ENOTSOCK ENOTSUP ENOTTY ENXIO EOPNOTSUPP EOVERFLOW EOWNERDEAD
EPERM EPFNOSUPPORT EPIPE EPROTO EPROTONOSUPPORT EPROTOTYPE ERANGE EREMOTE EROFS ESHUTDOWN
ESOCKTNOSUPPORT ESPIPE ESRCH ESTALE ETIME ETIMEDOUT ETOOMANYREFS ETXTBSY EUSERS EWOULDBLOCK EXDEV"""
LINUX_ALONE = {
    os: "O_DIRECT O_PATH O_TMPFILE O_NOATIME O_LARGEFILE memfd_create eventfd pidfd_open getrandom "
    "posix_fadvise posix_fallocate splice copy_file_range getxattr setxattr listxattr getresuid "
    "setresuid sync_file_range unshare setns",
    signal: "SIGPWR SIGSTKFLT SIGPOLL SIGCLD SIGRTMIN SIGRTMAX sigtimedwait sigwaitinfo",
    fcntl: "F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_GET_SEALS F_NOTIFY F_SETLEASE F_GETLEASE "
    "F_OFD_SETLK F_OFD_GETLK F_OFD_SETLKW",
    resource: "prlimit RLIMIT_NICE RLIMIT_OFILE RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING "
    "RLIMIT_MSGQUEUE",
    psutil: "sensors_temperatures sensors_fans",
}


def asked_by_us():
    """Whether the innermost caller outside of the standard library is a file of the package."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((STANDARD_LIBRARY, "<frozen")) or "site-packages" in file:
            return PACKAGE in file
        frame = frame.f_back
    return False


def without_proc(function):
    def opened(path, *arguments, **options):
        if str(path).startswith(("/proc", "/sys")) and asked_by_us():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return function(path, *arguments, **options)

    return opened


def without_memory_limit(kind, limits, set_limit=resource.setrlimit):
    if kind == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")
    set_limit(kind, limits)


def refused(*_, **__):
    raise FileNotFoundError(errno.ENOENT, "No such file or directory")


def refused_lock(*_):
    number = getattr(errno, os.environ["PNAS_STANDIN_FLOCK"])
    raise OSError(number, os.strerror(number))


def become_a_mac():
    for name in [
        name for name in vars(errno) if name.startswith("E") and name not in ERRNO.split()
    ]:
        delattr(errno, name)
    affinity = [name for name in vars(os) if name.startswith(("sched_", "SCHED_"))]
    for module, names in LINUX_ALONE.items():
        for name in (*names.split(), *(affinity if module is os else ())):
            if hasattr(module, name):
                delattr(module, name)
    del psutil.Process.cpu_affinity
    platform.freedesktop_os_release = refused
    resource.setrlimit = without_memory_limit
    builtins.open = io.open = without_proc(io.open)
    os.open, os.stat = without_proc(os.open), without_proc(os.stat)
    system = platform.system
    platform.system = lambda: "Darwin" if asked_by_us() else system()
    platform.mac_ver = lambda: ("14.5", ("", "", ""), "arm64")
    os.environ["PATH"] = f"{Path(__file__).parent / 'bin'}{os.pathsep}{os.environ['PATH']}"


if os.environ.get("PNAS_STANDIN_FLOCK"):
    fcntl.flock = refused_lock
else:
    become_a_mac()
