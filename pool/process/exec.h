/* Executing the program again, in a child that is made for that. */
#ifndef MP__PROCESS_EXEC_H
#define MP__PROCESS_EXEC_H
#include "pool/process/birth.h"
#include <signal.h>

enum { MP__EXEC_STACK = 32 * 1024 };

/* Made before the child, so that nothing is allocated in it. */
typedef struct mp__exec {
    int program; /* descriptor of its file; borrowed */
    char *const *argv;
    char line[MP__BIRTH_MAX];
    char stack[MP__EXEC_STACK]; /* the child's */
    char *environment[];        /* `line`, then the program's as it was; ends with NULL */
} mp__exec;

/* NULL: no memory. Free it with free(3). `program` and `argv` are borrowed for its life. */
mp__exec *mp__exec_prepare(int program, char *const *argv);

/* One that is to be executed. */
typedef struct mp__execution {
    mp__exec *exec;
    mp__birth birth;      /* but for its `pid` */
    const sigset_t *mask; /* that it begins with */
    int control;          /* where it says that it cannot be executed, */
    mp__control failed;   /* by this, with its pid and errno */
} mp__execution;

/* With all signals blocked. The child has our memory until it is executed or has ended, and the calling thread waits for that: what it
 * takes does not depend on how much there is. < 0: errno says why there is none. */
pid_t mp__exec_zygote(mp__execution *execution);
pid_t mp__exec_worker(mp__execution *execution);

/* exec_child.c: what runs in the child. `execution` is an mp__execution. They do not return. */
int mp__exec_be_zygote(void *execution);
int mp__exec_be_worker(void *execution);

#endif
