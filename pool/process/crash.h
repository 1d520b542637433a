/* What a worker that crashes writes down of it, in the memory that it shares with the parent: where it was. */
#ifndef MP__PROCESS_CRASH_H
#define MP__PROCESS_CRASH_H
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { MP__CRASH_SIZE = 8192, MP__CRASH_FRAMES = 64 };

/* Written once, by the signal handler; `signal` last but for `size`, which grows frame by frame: a crash in the handler leaves what
 * it had. The parent looks when the worker is dead, and believes none of it: a wild task may have written here. */
typedef struct mp__crash {
    uint64_t address;       /* of a fault: what could not be read, written or run; the instruction, for SIGFPE and SIGILL */
    _Atomic int32_t signal; /* 0: nothing was written down */
    int32_t code;           /* si_code: see sigaction(2) */
    uint32_t has_address;   /* 1: `address` is one */
    _Atomic uint32_t size;  /* of `frames` */
    char frames[MP__CRASH_SIZE - 24]; /* see mp__evidence; no final zero */
} mp__crash;
_Static_assert(sizeof(mp__crash) == MP__CRASH_SIZE, "mapped by both");

/* In the worker: whatever would end it by a signal that can be caught is written down first, and then ends it by that very signal.
 * SIGTERM too: a task that is ended because its time was up shows where it was. Only where the signal has its default action; again
 * after somebody has set that. A process that is forked from the worker writes down nothing. `area` is borrowed for ever. */
void mp__crash_watch(mp__crash *area);
/* Does now what walking a stack needs to be done once. */
void mp__crash_warm_up(void);

/* The handler, and what it knows: set before it is installed. */
extern mp__crash *mp__crash_area;
extern pid_t mp__crash_process;
_Noreturn void mp__crash_note(int number, siginfo_t *info, void *context);

/* What the processor was about, as the handler finds it: one file for each processor (context_*.c). 0: not known. */
uintptr_t mp__context_place(const void *context);
/* A call went to where no code is: makes it as if the call had just returned, so that who called can be found. False: not known how. */
bool mp__context_return(void *context);

#endif
