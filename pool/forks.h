/* What forks mean for us: which process of a pool this is, and locks that are kept through a fork, for a child that is forked while
 * another thread holds one would wait for it for ever. */
#ifndef MP__POOL_FORKS_H
#define MP__POOL_FORKS_H
#include <pthread.h>
#include <stdbool.h>

typedef enum mp__role {
    MP__PROGRAM, /* or a child that it has forked */
    MP__ZYGOTE,  /* its only thread holds no lock of these: none is kept */
    MP__WORKER,
    MP__COPY, /* forked by a task: if that lets it come back to us there are two workers on one pipe */
} mp__role;

/* No other of them is taken below one. */
enum { MP__TASKS_LOCK, MP__RECORDS_LOCK, MP__INTERRUPTS_LOCK, MP__KEPT_LOCKS };

/* Together, on one page: each that is written behind a fork is copied first, on both sides, which takes longer than all else that is
 * done with it. */
typedef struct mp__forked {
    pthread_mutex_t kept[MP__KEPT_LOCKS];
    pthread_mutex_t
        symbols; /* not kept, for files are read under it, but new in a child: nothing of libdw's is shared between two uses */
    /* New in a child as well, and waited for, but for a second at most: libdw loads a library under it, and who has the dynamic linker's
     * own lock meanwhile may be in a constructor that forks, or that waits for a lock of one who does. */
    pthread_mutex_t loader;
    bool loader_taken; /* by who forks, and has the kept ones */
    mp__role role;     /* fixed before the process has other threads */
} mp__forked;
extern mp__forked mp__forks;

#endif
