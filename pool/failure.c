/* Filling in an mp_error in one line; failure.h says what is filled in. Any thread, no state. */
#include "pool/failure.h"
#include "serial/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void begin(mp_error *error, mp_status status)
{
    memset(error, 0, sizeof *error);
    error->status = status;
    error->item = MP_NO_ITEM;
    error->worker = MP_NO_WORKER;
    error->exit_code = -1;
}

mp_status mp__failure(mp_error *error, mp_status status, const char *format, ...)
{
    if (!error)
        return status;
    begin(error, status);
    va_list arguments;
    va_start(arguments, format);
    mp__text_format(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}

mp_status mp__system_failure(mp_error *error, int os_error, const char *format, ...)
{
    if (!error)
        return MP_ESYSTEM;
    begin(error, MP_ESYSTEM);
    error->os_error = os_error;
    va_list arguments;
    va_start(arguments, format);
    mp__text_format(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    size_t length = strlen(error->message);
    const char *text = strerrordesc_np(os_error);
    snprintf(error->message + length, sizeof error->message - length, ": %s", text ? text : "unknown error");
    return MP_ESYSTEM;
}

mp_status mp__no_failure(mp_error *error)
{
    if (error)
        memset(error, 0, sizeof *error);
    return MP_OK;
}

const mp_error *mp__failure_plain(mp_status status, size_t item, const mp_task *task)
{
    static _Thread_local mp_error plain;
    (void)mp__failure(&plain, status, "%s (there was no memory to say more)", mp_status_text(status));
    plain.item = item;
    if (task)
        strcpy(plain.task, task->name); /* its length was checked when it was registered */
    return &plain;
}
