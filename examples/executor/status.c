/* future.running() and future.done(): a future is pending, then running, then done. */
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

static void print_states(mp_future *first, mp_future *second)
{
    printf("first: running %d, done %d; second: running %d, done %d\n", mp_future_running(first), mp_future_done(first),
           mp_future_running(second), mp_future_done(second));
}

int main(void)
{
    sem_t started, go;
    sem_init(&started, 0, 0);
    sem_init(&go, 0, 0);

    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 1) {
        mp_future *first = mp_submit(executor, work, (&(signals){{&started}, {&go}}));
        mp_future *second = mp_submit(executor, work, (&(signals){{&started}, {&go}}));
        sem_wait(&started);
        print_states(first, second);
        sem_post(&go);
        mp_future_result(first, NULL, MP_FOREVER);
        sem_wait(&started);
        print_states(first, second);
        sem_post(&go);
        mp_future_result(second, NULL, MP_FOREVER);
        print_states(first, second);
        mp_future_free(&first);
        mp_future_free(&second);
    }
}
