/* What a program that is executed for a pool is to be: a line in its environment. */
#ifndef MP__PROCESS_BIRTH_H
#define MP__PROCESS_BIRTH_H
#include "pool/process/protocol.h"
#include <millpond/error.h>
#include <sys/types.h>

#define MP__BIRTH_VARIABLE "MILLPOND_START"
enum { MP__BIRTH_MAX = 320 }; /* bytes of the line, with its name and the final zero */

typedef enum mp__birth_kind { MP__BIRTH_ZYGOTE = 1, MP__BIRTH_WORKER } mp__birth_kind;

typedef struct mp__birth {
    mp__birth_kind kind;
    pid_t pid;    /* of the process that is meant, and no other that may inherit the line */
    pid_t parent; /* a zygote's: the pool's owner; a worker's: the zygote */
    uint32_t place;
    int fds[MP__CONTROL_FDS]; /* a zygote's: its control socket; a worker's: tasks, results, shared memory, output */
    uint64_t hash;            /* of the pool's task table */
    char prefix[MP_NAME_MAX]; /* of workers' names */
} mp__birth;

/* "MILLPOND_START=..." into `text`. Between fork and exec: only arithmetic. */
void mp__birth_write(const mp__birth *birth, char text[MP__BIRTH_MAX]);

/* Takes the variable's value apart. OTHERS: it is meant for another process; STRANGE: another version of this library wrote it. */
typedef enum mp__birth_reading { MP__BIRTH_OURS, MP__BIRTH_OTHERS, MP__BIRTH_STRANGE } mp__birth_reading;
mp__birth_reading mp__birth_read(const char *text, mp__birth *birth);

#endif
