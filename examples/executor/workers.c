/* ThreadPoolExecutor() and ThreadPoolExecutor(500): threads start as there is work for them, up to a limit. */
#include <millpond.h>
#include <pthread.h>
#include <stdio.h>

/* Returns when all whom the barrier waits for are there: so many threads run at the same time. */
static mp_status meet(const mp_ptr *barrier, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    pthread_barrier_wait(barrier->address);
    return MP_OK;
}
MP_TASK(meet, mp_ptr, mp_none);

static size_t meet_all(mp_executor *executor, int n)
{
    pthread_barrier_t barrier;
    mp_future *futures[500];
    pthread_barrier_init(&barrier, NULL, (unsigned)n);
    for (int i = 0; i < n; i++)
        futures[i] = mp_submit(executor, meet, (&(mp_ptr){&barrier}));
    mp_wait_result result = mp_wait(futures, (size_t)n, MP_ALL_COMPLETED, MP_FOREVER);
    for (int i = 0; i < n; i++)
        mp_future_free(&futures[i]);
    pthread_barrier_destroy(&barrier);
    return result.done;
}

int main(void)
{
    int usual = mp_cpu_count() + 4 < 32 ? mp_cpu_count() + 4 : 32; /* min(32, os.process_cpu_count() + 4) */
    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS)
        printf("as many threads as usual have met: %s\n", meet_all(executor, usual) == (size_t)usual ? "yes" : "no");
    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 500)
        printf("%zu threads have met\n", meet_all(executor, 500));
}
