"""The one way to start a native thread: with a name, and with signals left to Python's main thread.

A native thread never takes the GIL; whoever starts it waits for it, and keeps what it uses until
then. What a thread does, and how it is asked to end, is its own affair.
"""

import os

from libc.stdio cimport snprintf

cdef extern from "<pthread.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int pthread_create(pthread_t *, void *, ThreadMain, void *)
    int pthread_setname_np(pthread_t, const char *)

cdef extern from "<signal.h>" nogil:
    int sigfillset(sigset_t *)
    int pthread_sigmask(int, const sigset_t *, sigset_t *)
    int SIG_SETMASK

cdef enum:
    NAME_BYTES = 16                   # Linux's bound, with its NUL


cdef int thread_start(
    pthread_t *thread, ThreadMain main, void *argument, const char *name
) except -1:
    """Start a thread.

    Raises:
        OSError: the system gives no thread.
    """
    cdef sigset_t every, before
    cdef char shown[NAME_BYTES]
    sigfillset(&every)
    pthread_sigmask(SIG_SETMASK, &every, &before)
    code = pthread_create(thread, NULL, main, argument)
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    if code != 0:
        raise OSError(code, f"cannot start a thread: {os.strerror(code)}")
    snprintf(shown, sizeof(shown), "%s", name)
    pthread_setname_np(thread[0], shown)
    return 0
