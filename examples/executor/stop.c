/* Stopping tasks that run: an event that the program shares with them, and at which they look now and then. */
#include <millpond.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

typedef struct {
    mp_ptr started, stop;
} events;
MP_TYPE(events, started, stop);

static mp_status work(const events *in, int *rounds, mp_call *call)
{
    (void)call;
    const atomic_bool *stop = in->stop.address;
    sem_post(in->started.address);
    *rounds = 0;
    do {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* stands for a round of work */
        ++*rounds;
    } while (!atomic_load(stop));
    return MP_OK;
}
MP_TASK(work, events, int);

int main(void)
{
    sem_t started;
    atomic_bool stop = false;
    mp_future *futures[3];
    sem_init(&started, 0, 0);

    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 3) {
        for (int i = 0; i < 3; i++)
            futures[i] = mp_submit(executor, work, (&(events){{&started}, {&stop}}));
        for (int i = 0; i < 3; i++)
            sem_wait(&started);
        puts("three tasks run");
        atomic_store(&stop, true);
        for (int i = 0; i < 3; i++) {
            int rounds;
            if (mp_future_result(futures[i], &rounds, MP_FOREVER) == MP_OK)
                printf("one has stopped, after a round of work or more: %s\n", rounds >= 1 ? "yes" : "no");
            mp_future_free(&futures[i]);
        }
    }
}
