/* The zygote: the process that workers are forked from. */
#ifndef MP__PROCESS_ZYGOTE_H
#define MP__PROCESS_ZYGOTE_H
#include "pool/chaos.h"
#include "pool/process/exec.h"
#include "pool/registry.h"
#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct mp__zygote_config {
    int control;   /* its end of the control socket */
    pid_t owner;   /* the process that opened the pool */
    sigset_t mask; /* the signal mask that workers get */
    const mp__task_table *tasks;
    uint64_t wanted_hash;    /* of the pool's task table */
    const char *name_prefix; /* of workers */
    const mp__chaos *chaos;  /* for workers; NULL: nothing, or, where it was executed, as the environment says */
    bool executed;           /* it was, and has to say that it is there */
    mp__exec *exec;          /* NULL: workers are forked; else each is executed, by this */
} mp__zygote_config;

/* In the forked child: serves until the owner closes its end or dies; then kills and reaps what is left, and leaves. */
_Noreturn void mp__zygote_run(const mp__zygote_config *config);

#endif
