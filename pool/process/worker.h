/* A worker process: takes items from its pipe, runs tasks, gives results back. */
#ifndef MP__PROCESS_WORKER_H
#define MP__PROCESS_WORKER_H
#include "pool/chaos.h"
#include "pool/process/capture.h"
#include "pool/registry.h"
#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct mp__worker_start {
    pid_t parent; /* the zygote */
    uint32_t place;
    const char *name_prefix;
    int tasks_fd, results_fd, shared_fd;
    int output_fds[MP__CAPTURED]; /* -1: what it prints is not captured */
    sigset_t mask;                /* signal mask of whoever opened the pool */
    const mp__task_table *tasks;
    uint64_t wanted_hash;   /* of the pool's; where `tasks` is a copy of the pool's, that is not looked at */
    const mp__chaos *chaos; /* NULL: nothing, or, where it was executed, as the environment says */
    bool executed;
} mp__worker_start;

/* In the forked child. Leaves when it is told to stop, when its pipe ends, or with its zygote. */
_Noreturn void mp__worker_run(const mp__worker_start *start);

#endif
