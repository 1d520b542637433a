/* The shell round the core: the pool's lock, its I/O thread, and the loop that turns what workers say into the core's events
 * and the core's actions into calls of the backend. Opaque to pool.c but for these calls. */
#ifndef MP__POOL_DISPATCH_H
#define MP__POOL_DISPATCH_H
#include "pool/backend.h"
#include "pool/job.h"
#include <millpond/pool.h>

typedef struct mp__dispatch mp__dispatch;

/* Opens the backend, starts every worker, and waits until all are ready; then starts the I/O thread. On failure nothing is
 * left. Blocks. */
mp_status mp__dispatch_open(mp__dispatch **dispatch, const mp__backend *backend, const mp__backend_config *config,
                            mp_error *error);

/* Runs a job and waits for its end; MP_ECLOSED, MP_EBROKEN: not taken. */
mp_status mp__dispatch_run(mp__dispatch *dispatch, mp__job *job, mp_error *error);

void mp__dispatch_close(mp__dispatch *dispatch);
void mp__dispatch_terminate(mp__dispatch *dispatch);
/* Waits for the end: MP_ERUNNING if it was neither closed nor terminated. */
mp_status mp__dispatch_join(mp__dispatch *dispatch);
/* Of a joined one. */
void mp__dispatch_free(mp__dispatch **dispatch);
void mp__dispatch_stats(mp__dispatch *dispatch, mp_pool_stats *stats);

#endif
