/* What a piece of code left behind in this process and in the system: children, threads, descriptors, shared memory, signal
 * settings. Take a snapshot before it runs and compare afterwards. Linux only: /proc is what is looked at.
 *
 * leftovers_before makes the process a subreaper: what an exited child leaves behind comes to us instead of to process 1, so
 * grandchildren are seen too. One thread at a time. */
#ifndef TESTS_LIB_LEFTOVERS_H
#define TESTS_LIB_LEFTOVERS_H
#include <stdbool.h>
#include <stddef.h>

/* A set of short texts, each of which names one thing that is there. */
typedef struct names {
    char **items; /* owned */
    size_t count, capacity;
} names;

typedef struct leftovers {
    names threads;     /* thread ids */
    names descriptors; /* "7 pipe:[1234]" */
    names mappings;    /* of shared memory: "inode path" */
    names files;       /* of ours in /dev/shm */
    names signals;     /* which are blocked, ignored and caught, as /proc says it */
} leftovers;

/* How long leftovers_after waits for what is just going away (a joined thread stands in /proc a moment longer): 3 s. */
extern double leftovers_patience;

/* Remembers what is there now. Ends with leftovers_after, once. */
void leftovers_before(leftovers *before);

/* True if nothing is there that was not there before, and no child at all. If not: false, and `text` says what is left, one
 * line for each; children are then killed and reaped, so that they do no further harm. */
bool leftovers_after(leftovers *before, char *text, size_t size);

/* For a test that orphans processes on purpose (it kills the zygote): waits at most `seconds` until every child of ours, the
 * adopted ones included, is dead and reaped. How many were reaped; -1 if one still runs. */
int leftovers_reap(double seconds);

#endif
