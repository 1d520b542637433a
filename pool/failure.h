/* Filling in an mp_error in one line. */
#ifndef MP__POOL_FAILURE_H
#define MP__POOL_FAILURE_H
#include <millpond/error.h>
#include <millpond/task.h>

/* Zeroes `error` (NULL is fine), sets status, MP_NO_ITEM, MP_NO_WORKER, exit code -1 and the message; returns `status`. */
mp_status mp__failure(mp_error *error, mp_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same as an initializer, for constants. */
#define MP__FAILURE(status_, text)                                                                                         \
    {                                                                                                                      \
        .status = (status_), .item = MP_NO_ITEM, .worker = MP_NO_WORKER, .exit_code = -1, .message = text                  \
    }

/* As mp__failure, with MP_ESYSTEM and errno's text behind the message. */
mp_status mp__system_failure(mp_error *error, int os_error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* An error with this status and its text, of this item of a call (or MP_NO_ITEM) of this task (or NULL), for who asks where there was
 * no memory to keep more: this thread's, until it asks again. */
const mp_error *mp__failure_plain(mp_status status, size_t item, const mp_task *task);

/* What a call that has a time-out of its own says of an item with this status: see status.h. */
static inline mp_status mp__waited_status(mp_status status)
{
    return status == MP_ETIMEDOUT ? MP_EOVERTIME : status;
}

/* Zeroes `error` (NULL is fine) and returns MP_OK. */
mp_status mp__no_failure(mp_error *error);

#endif
