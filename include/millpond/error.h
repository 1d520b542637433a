/* mp_error: what went wrong, where, and what to do about it. A plain value: nothing in it is owned, copy it freely. */
#ifndef MILLPOND_ERROR_H
#define MILLPOND_ERROR_H
#include <millpond/status.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MP_MESSAGE_MAX 384
#define MP_NAME_MAX 64
#define MP_NO_ITEM SIZE_MAX
#define MP_NO_WORKER (-1)

typedef struct mp_error {
    mp_status status; /* MP_OK: nothing went wrong, the rest is zero */
    int os_error;     /* errno, where a system call failed; else 0 */
    size_t item;      /* the item's index in the call's array; MP_NO_ITEM when the call itself failed */
    int worker;       /* the index of the worker that ran it; MP_NO_WORKER when none did */
    pid_t pid;        /* that worker's process; 0 when none */
    int signal;       /* the signal that killed the worker; 0 when none did */
    int exit_code;    /* the exit code of a worker that exited; -1 when it did not */
    int attempt;      /* which attempt of the item this was, from 1; 0: none ran */
    uint64_t record;  /* where all that is known of it is kept, for mp_error_record (record.h); 0: there is nothing more */
    char host[MP_NAME_MAX];       /* where that was, if it was on another host (MP_CLUSTER); "": on this one */
    char task[MP_NAME_MAX];       /* the task's name; "" when no task is concerned */
    char message[MP_MESSAGE_MAX]; /* one sentence that says what happened and what to do; cut at a whole character */
} mp_error;

MP__BEGIN
/* Writes "integrate: item 17: steps must be positive, got 0 (worker 3)" into `text` (at most `size` bytes with the final
 * zero) and returns the length that the whole has, as snprintf(3) does. `error` is borrowed; NULL reads as no error. */
MP__API size_t mp_error_format(const mp_error *error, char *text, size_t size);

/* Writes the same as one line to standard error, as perror(3) does; and, indented below it, what its record says, as long as that is
 * kept (record.h): input, worker, backtrace, last words, and how to run it again. `error` is borrowed; NULL reads as no error. */
MP__API void mp_perror(const mp_error *error);

/* Fills in an error: `status`, which it returns, and a text (printf(3), cut at MP_MESSAGE_MAX). For generators (iter.h). `error` is
 * borrowed; NULL is fine. */
MP__API mp_status mp_error_set(mp_error *error, mp_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
MP__END
#endif
