/* A future's call while the core has it (pool/batch.h): near its turn, or under way. All with the pool's lock, on whichever thread
 * drives. */
#include "futures/future.h"
#include "pool/batch.h"

/* The item of an executor's future has ended, or was given up with its executor; it may have been cancelled before. */
void mp__future_ended(mp__posted *call, const void *result, const mp_error *error)
{
    mp_future *future = (mp_future *)call;
    bool wanted = !mp__future_is_done(future);
    mp__single_end(&future->single, result, error, wanted);
    if (wanted)
        (void)mp__future_complete(future, error && error->status == MP_ECANCELLED ? MP__CANCELLED : MP__FINISHED);
    mp__future_unhold(future); /* the engine's; the dispatch has its pool's reference while this runs */
}

bool mp__future_runs(mp_future *future)
{
    return future->single.posted.begun && mp__batch_runs(future->dispatch, &future->single.posted);
}

void mp__future_recall(mp_future *future)
{
    if (!future->single.posted.begun)
        return;
    mp__job *job = mp__batch_part(future->dispatch, &future->single.posted);
    mp__core_cancel(mp__dispatch_core(future->dispatch), &job->core, MP_ECANCELLED, false);
}

void mp__future_revoke(mp_future *future, bool force)
{
    if (!future->single.posted.begun)
        return;
    mp__job *job = mp__batch_part(future->dispatch, &future->single.posted);
    if (force)
        job->core.quiet = false;
    mp__dispatch_revoke(future->dispatch, job, force);
}
