/* What a worker stands on: its descriptors, and what of the process a task may change to the harm of the next one. */
#ifndef MP__PROCESS_FOOTING_H
#define MP__PROCESS_FOOTING_H
#include "pool/process/capture.h"
#include "pool/process/protocol.h"
#include "pool/process/worker.h"
#include <signal.h>
#include <sys/stat.h>

typedef struct mp__file_id {
    dev_t device;
    ino_t inode;
} mp__file_id;

typedef struct mp__footing {
    /* fixed when it is taken */
    int tasks_fd, results_fd;
    int output_fds[MP__CAPTURED]; /* what 1 and 2 are to be; files of ours, where that is captured */
    bool captures;
    int statm_fd;
    /* as it is to be before each item; fixed when it is noted */
    int input_fd;     /* what 0 is to be */
    int directory_fd; /* -1: not known */
    mp__file_id directory, standard[3];
    mode_t umask;
    sigset_t mask;
    struct sigaction term;
    unsigned glances;
} mp__footing;

/* At the beginning of a worker: its death follows the zygote's, its descriptors are where they are to stay, and no others are open.
 * Gives the shared memory. What cannot be had ends the process. */
mp__shared *mp__footing_take(mp__footing *footing, const mp__worker_start *start);
/* Then, before signals are let in: handlers of the program's are gone, and it has no terminal. */
void mp__footing_take_signals(void);

/* As it is now it is to be: at the beginning, and when an initializer has arranged things. */
void mp__footing_note(mp__footing *footing);
/* Mends what has changed since: directory, umask, signal mask, what SIGTERM does, descriptors 0 to 2. True: something had. */
bool mp__footing_mend(mp__footing *footing);

/* The same for one of these, the next each time: cheap. */
bool mp__footing_glance(mp__footing *footing);

/* How many bytes are resident; 0: not known. */
uint64_t mp__footing_resident(const mp__footing *footing);

#endif
