/* future.cancel(): what has not started never does; what runs, or is done, stays as it is. */
#include <millpond.h>
#include <semaphore.h>
#include <stdio.h>

typedef struct {
    mp_ptr started, go;
} signals;
MP_TYPE(signals, started, go);

static mp_status work(const signals *in, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    sem_post(in->started.address);
    sem_wait(in->go.address);
    return MP_OK;
}
MP_TASK(work, signals, mp_none);

int main(void)
{
    sem_t started, go;
    sem_init(&started, 0, 0);
    sem_init(&go, 0, 0);

    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 1) {
        mp_future *running = mp_submit(executor, work, (&(signals){{&started}, {&go}}));
        mp_future *pending = mp_submit(executor, work, (&(signals){{&started}, {&go}}));
        sem_wait(&started);
        printf("pending: %s\n", mp_future_cancel(pending) ? "cancelled" : "not cancelled");
        printf("running: %s\n", mp_future_cancel(running) ? "cancelled" : "not cancelled");
        sem_post(&go);
        mp_future_result(running, NULL, MP_FOREVER);
        printf("done: %s\n", mp_future_cancel(running) ? "cancelled" : "not cancelled");

        printf("cancelled %d, done %d, ", mp_future_cancelled(pending), mp_future_done(pending));
        printf("and its result is %s\n", mp_status_name(mp_future_result(pending, NULL, MP_FOREVER)));
        mp_future_free(&running);
        mp_future_free(&pending);
    }
}
