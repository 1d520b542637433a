/* mp_status: what a call returns and what an item reports. One table, so that code, name and text never part. */
#ifndef MILLPOND_STATUS_H
#define MILLPOND_STATUS_H
#include <millpond/version.h>

/* Two failures never mix: *the call failed* (bad argument, closed pool) is the call's return value and no item ran because
 * of it; *an item failed* is that item's status. mp_pool_map returns the status of the first failed item when items failed.
 * MP_ETIMEDOUT, too, is two things that must not mix: an item whose time was up has it as its status; and calls that wait with a
 * time-out of their own (mp_async_get, mp_iter_next, mp_future_result) say it when *they* have waited long enough and nothing is
 * lost. So these, and the errors that they show, say MP_EOVERTIME when it was the item's time. */
#define MP_STATUS_TABLE(X)                                                                                                 \
    X(MP_OK, 0, "success")                                                                                                 \
    X(MP_EINVAL, 1, "an argument is not valid")                                                                            \
    X(MP_ENOMEM, 2, "not enough memory")                                                                                   \
    X(MP_ESYSTEM, 3, "a system call failed")                                                                               \
    X(MP_ETYPE, 4, "a value has another type than was promised")                                                           \
    X(MP_ERANGE, 5, "a number does not fit its type")                                                                      \
    X(MP_EENCODING, 6, "a string is not UTF-8")                                                                            \
    X(MP_EFORMAT, 7, "the bytes are not what they claim to be")                                                            \
    X(MP_ELIMIT, 8, "a limit on depth, count or size was passed")                                                          \
    X(MP_EUNREGISTERED, 9, "the task is not registered")                                                                   \
    X(MP_EDUPLICATE, 10, "two tasks have the same name")                                                                   \
    X(MP_EFAILED, 11, "the task failed")                                                                                   \
    X(MP_ECRASHED, 12, "the worker died while it ran the item")                                                            \
    X(MP_ELOST, 13, "the item ran, but its result was lost with its worker")                                               \
    X(MP_ETERMINATED, 14, "the pool was terminated before the item ended")                                                 \
    X(MP_ECLOSED, 15, "the pool does not take new work")                                                                   \
    X(MP_ERUNNING, 16, "the pool is still running")                                                                        \
    X(MP_EBROKEN, 17, "the pool cannot start workers any more")                                                            \
    X(MP_EFOREIGN, 18, "the pool belongs to another process")                                                              \
    X(MP_ETIMEDOUT, 19, "time is up")                                                                                      \
    X(MP_ECANCELLED, 20, "the item was cancelled before it started")                                                       \
    X(MP_END, 21, "the stream has ended")                                                                                  \
    X(MP_EDEADLK, 22, "the call would wait for a worker that waits for it")                                                \
    X(MP_EMISMATCH, 23, "the worker was built from other code")                                                           \
    X(MP_EFULL, 24, "there is no room in the queue")                                                                       \
    X(MP_EDONE, 25, "the future is done already")                                                                          \
    X(MP_EOVERTIME, 26, "the item's time was up")                                                                          \
    X(MP_EINTERRUPTED, 27, "Ctrl-C came before the item started")                                                          \
    X(MP_ELAUNCH, 28, "the program was not launched as it must be")

typedef enum mp_status {
#define MP__STATUS_ENUM(name, code, text) name = (code),
    MP_STATUS_TABLE(MP__STATUS_ENUM)
#undef MP__STATUS_ENUM
    MP_EUSER = 1000, /* from here on: codes of your own tasks, `(mp_status)(MP_EUSER + 3)` */
    MP_STATUS_MAX = 0x7fffffff
} mp_status;

MP__BEGIN
/* "MP_EINVAL" for MP_EINVAL, "MP_EUSER" for any code of a user's, "unknown status" for others. Borrowed for ever. */
MP__API const char *mp_status_name(mp_status status);

/* The text of the table above: "an argument is not valid". Borrowed for ever. */
MP__API const char *mp_status_text(mp_status status);
MP__END
#endif
