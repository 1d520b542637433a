/* Making the zygote, in the parent. */
#ifndef MP__PROCESS_LAUNCH_H
#define MP__PROCESS_LAUNCH_H
#include "pool/backend.h"
#include "pool/chaos.h"

typedef struct mp__launch {
    mp_start_method method;
    const mp__task_table *tasks;
    uint64_t hash;
    const mp__chaos *chaos; /* as mp__backend_config */
    const char *name_prefix;
} mp__launch;

/* `zygote` and `control`, our end of its socket, are given. On failure nothing is left. Blocks as long as a program takes to be
 * executed, where it is: MP__START_NS at most. MP_ESYSTEM, MP_ENOMEM, MP_EMISMATCH, MP_EBROKEN. */
mp_status mp__launch_zygote(const mp__launch *launch, pid_t *zygote, int *control, mp_error *error);

#endif
