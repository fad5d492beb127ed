"""What a program needs of the machine that it runs on, looked at before it begins.

Libraries end a process in ways of their own where they get no descriptor or no thread, some with a
core dump; whoever looks first can say in one line what is missing. Imports next to nothing.
"""

import resource
import threading


class TooLittle(Exception):
    """The machine gives a process less than it needs; the message says of what, and what to do."""


def need_descriptors(least: int) -> None:
    """Have this process allowed so many open files, if it is not yet.

    Raises:
        TooLittle: it may not be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= least:
        return
    if hard != resource.RLIM_INFINITY and hard < least:
        raise TooLittle(
            f"{hard} open files are allowed and {least} needed; raise the limit (ulimit -n)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (least, hard))


def need_threads(least: int) -> None:
    """Start so many threads at once, and end them: to be called before those that are needed start.

    Raises:
        TooLittle: the system gave fewer.
    """
    over = threading.Event()
    threads = []
    try:
        for _ in range(least):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        raise TooLittle(
            f"the system gives {len(threads)} threads and {least} are needed; raise the limit"
            " (ulimit -u, or a service's TasksMax)"
        ) from None
    finally:
        over.set()
        for thread in threads:
            thread.join()
