/* The line by which a process knows what it was executed for: numbers in decimal, and the name prefix behind them, for that may
 * hold anything. It begins with the protocol's version and the process's id, which no later version will change: so a program
 * that has another millpond than its parent does not take itself for the user's.
 *
 * Written in a forked child, where nothing may be called that takes a lock. */
#include "pool/process/birth.h"
#include "pool/process/decimal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIELDS = 11 };
_Static_assert(sizeof MP__BIRTH_VARIABLE + FIELDS * (MP__DECIMAL_MAX + 1) + MP_NAME_MAX <= MP__BIRTH_MAX,
               "the longest line");

static char *put_number(char *at, uint64_t number)
{
    at = mp__decimal_put(at, number);
    *at++ = ' ';
    return at;
}

static char *put_text(char *at, const char *text)
{
    while (*text)
        *at++ = *text++;
    *at = 0;
    return at;
}

void mp__birth_write(const mp__birth *birth, char text[MP__BIRTH_MAX])
{
    uint64_t fields[FIELDS] = {MP__PROTOCOL,
                               (uint64_t)birth->pid,
                               birth->kind,
                               (uint64_t)birth->parent,
                               birth->place,
                               (uint64_t)birth->fds[0],
                               (uint64_t)birth->fds[1],
                               (uint64_t)birth->fds[2],
                               birth->hash,
                               (uint64_t)birth->fds[3],
                               (uint64_t)birth->fds[4]};
    char *at = put_text(text, MP__BIRTH_VARIABLE "=");
    for (int i = 0; i < FIELDS; i++)
        at = put_number(at, fields[i]);
    put_text(at, birth->prefix);
}

mp__birth_reading mp__birth_read(const char *text, mp__birth *birth)
{
    uint64_t fields[FIELDS];
    for (int i = 0; i < FIELDS; i++) {
        char *end;
        fields[i] = strtoull(text, &end, 10);
        if (end == text || *end != ' ')
            return i < 2 ? MP__BIRTH_OTHERS : MP__BIRTH_STRANGE;
        if (i == 1 && fields[1] != (uint64_t)getpid())
            return MP__BIRTH_OTHERS;
        if (i == 1 && fields[0] != MP__PROTOCOL)
            return MP__BIRTH_STRANGE;
        text = end + 1;
    }
    *birth = (mp__birth){.kind = (mp__birth_kind)fields[2],
                         .pid = (pid_t)fields[1],
                         .parent = (pid_t)fields[3],
                         .place = (uint32_t)fields[4],
                         .fds = {(int)fields[5], (int)fields[6], (int)fields[7], (int)fields[9], (int)fields[10]},
                         .hash = fields[8]};
    snprintf(birth->prefix, sizeof birth->prefix, "%s", text);
    return MP__BIRTH_OURS;
}
