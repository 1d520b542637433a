/* Waiting until all are done, in three ways: wait(futures), executor.shutdown(), and the end of the `with` block. */
#include <millpond.h>
#include <stdatomic.h>
#include <stdio.h>

static mp_status count(const mp_ptr *counter, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    atomic_fetch_add((atomic_int *)counter->address, 1);
    return MP_OK;
}
MP_TASK(count, mp_ptr, mp_none);

static void submit_ten(mp_executor *executor, atomic_int *counter, mp_future **futures)
{
    for (int i = 0; i < 10; i++)
        futures[i] = mp_submit(executor, count, (&(mp_ptr){counter}));
}

static void free_ten(mp_future **futures)
{
    for (int i = 0; i < 10; i++)
        mp_future_free(&futures[i]);
}

int main(void)
{
    atomic_int counter = 0;
    mp_future *futures[10];

    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 4) {
        submit_ten(executor, &counter, futures);
        mp_wait_result result = mp_wait(futures, 10, MP_ALL_COMPLETED, MP_FOREVER);
        printf("wait: %zu are done, %zu are not, %d have counted\n", result.done, result.not_done, atomic_load(&counter));
        free_ten(futures);

        submit_ten(executor, &counter, futures);
        mp_executor_shutdown(executor);
        printf("shutdown: %d have counted\n", atomic_load(&counter));
        free_ten(futures);
    }

    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 4) {
        submit_ten(executor, &counter, futures);
        free_ten(futures); /* the calls run all the same */
    }
    printf("the end of the block: %d have counted\n", atomic_load(&counter));
}
