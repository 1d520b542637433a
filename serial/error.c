/* How an mp_error reads: "integrate: item 17: steps must be positive, got 0 (worker 3)".
 *
 * Decides the order of the parts, and which are left out: the task when there is no name, the item when the call itself
 * failed, the worker when none ran it; a message that is empty gives way to the status's own text. Owns nothing, takes no
 * lock, any thread. Happy path: one snprintf into a buffer that holds the longest of all errors. A caller's buffer that is
 * too small gets whole characters only. mp_perror, which shows more than this, is in pool/record_text.c. */
#include "serial/text.h"
#include <inttypes.h>
#include <millpond/error.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 2 * MP_NAME_MAX + MP_MESSAGE_MAX + 96 };

static size_t compose(const mp_error *error, char text[TEXT_MAX])
{
    if (!error || error->status == MP_OK)
        return (size_t)snprintf(text, TEXT_MAX, "%s", mp_status_text(MP_OK));
    char item[32] = "", worker[32 + MP_NAME_MAX] = "";
    if (error->item != MP_NO_ITEM)
        (void)snprintf(item, sizeof item, "item %zu: ", error->item);
    if (error->worker != MP_NO_WORKER)
        (void)snprintf(worker, sizeof worker, " (worker %d%s%.*s)", error->worker, error->host[0] ? " on " : "",
                       MP_NAME_MAX - 1, error->host);
    const char *message = error->message[0] ? error->message : mp_status_text(error->status);
    int length = snprintf(text, TEXT_MAX, "%.*s%s%s%.*s%s", MP_NAME_MAX - 1, error->task, error->task[0] ? ": " : "", item,
                          MP_MESSAGE_MAX - 1, message, worker);
    return (size_t)length;
}

size_t mp_error_format(const mp_error *error, char *text, size_t size)
{
    char whole[TEXT_MAX];
    size_t length = compose(error, whole);
    if (size > 0) {
        size_t kept = length < size ? length : mp__text_whole(whole, size - 1);
        memcpy(text, whole, kept);
        text[kept] = 0;
    }
    return length;
}

mp_status mp_error_set(mp_error *error, mp_status status, const char *format, ...)
{
    if (!error)
        return status;
    memset(error, 0, sizeof *error);
    error->status = status;
    error->item = MP_NO_ITEM;
    error->worker = MP_NO_WORKER;
    error->exit_code = -1;
    va_list arguments;
    va_start(arguments, format);
    mp__text_format(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}
