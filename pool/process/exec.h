/* Executing the program again, in a process that was forked for that. */
#ifndef MP__PROCESS_EXEC_H
#define MP__PROCESS_EXEC_H
#include "pool/process/birth.h"
#include <signal.h>

/* Made before the fork, so that nothing is allocated behind it. */
typedef struct mp__exec {
    int program; /* descriptor of its file; borrowed */
    char *const *argv;
    char line[MP__BIRTH_MAX];
    char *environment[]; /* `line`, then the program's as it was; ends with NULL */
} mp__exec;

/* NULL: no memory. Free it with free(3). `program` and `argv` are borrowed for its life. */
mp__exec *mp__exec_prepare(int program, char *const *argv);

/* In the forked child, with handlers as mp__inherit_signals leaves them; the descriptors in `birth` stay open across the exec.
 * Its `pid` is filled in. Returns errno, if it cannot be done. */
int mp__exec_run(mp__exec *exec, mp__birth *birth, const sigset_t *mask);

#endif
