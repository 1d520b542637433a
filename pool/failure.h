/* Filling in an mp_error in one line. */
#ifndef MP__POOL_FAILURE_H
#define MP__POOL_FAILURE_H
#include <millpond/error.h>

/* Zeroes `error` (NULL is fine), sets status, MP_NO_ITEM, MP_NO_WORKER, exit code -1 and the message; returns `status`. */
mp_status mp__failure(mp_error *error, mp_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same with MP_ESYSTEM and errno's text behind the message. */
mp_status mp__system_failure(mp_error *error, int os_error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Zeroes `error` (NULL is fine) and returns MP_OK. */
mp_status mp__no_failure(mp_error *error);

#endif
