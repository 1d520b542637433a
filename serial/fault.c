/* Faults: the first thing that was wrong with a value, and the path to it.
 *
 * Decides that the first fault is the one that is told: what follows is mostly its echo. Owns nothing; a fault is a plain
 * value of its caller, and one thread has it. Happy path: nobody calls here. Otherwise the place that saw the error sets it,
 * and each level of the recursion that returns puts its field or index in front: so the path costs nothing until it is
 * needed. A path that is too long loses its front, for the end names the culprit. Cannot fail. */
#include "serial/fault.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

mp_status mp__fault_set(mp__fault *fault, mp_status status, size_t offset, const char *format, ...)
{
    if (fault->status != MP_OK)
        return status;
    fault->status = status;
    fault->offset = offset;
    fault->path[0] = 0;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(fault->message, sizeof fault->message, format, arguments);
    va_end(arguments);
    return status;
}

/* `step` is "name" or "[3]"; a dot goes between a step and a name, not between a step and an index. */
static void put_in_front(mp__fault *fault, const char *step)
{
    char whole[sizeof fault->path + MP_NAME_MAX + 64];
    const char *dot = fault->path[0] && fault->path[0] != '[' ? "." : "";
    int length = snprintf(whole, sizeof whole, "%.100s%s%s", step, dot, fault->path);
    size_t size = (size_t)length, room = sizeof fault->path - 1;
    if (size <= room)
        memcpy(fault->path, whole, size + 1);
    else
        (void)snprintf(fault->path, sizeof fault->path, "...%s", whole + size - (room - 3));
}

void mp__fault_in_field(mp__fault *fault, const char *name)
{
    put_in_front(fault, name);
}

void mp__fault_in_element(mp__fault *fault, size_t index)
{
    char step[32];
    (void)snprintf(step, sizeof step, "[%zu]", index);
    put_in_front(fault, step);
}

void mp__fault_text(const mp__fault *fault, char *text, size_t size)
{
    char where[sizeof fault->path + 16] = "", at[40] = "";
    if (fault->path[0])
        (void)snprintf(where, sizeof where, "%s '%s': ", fault->path[0] == '[' ? "element" : "field", fault->path);
    if (fault->offset != MP__NO_OFFSET)
        (void)snprintf(at, sizeof at, " (byte %zu)", fault->offset);
    (void)snprintf(text, size, "%s%s%s", where, fault->message, at);
}
