/* One callback for every outcome: a result, a failure, a cancellation. And one that ends its thread, which hurts nobody. */
#include <math.h>
#include <millpond.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>

static mp_status root(const double *x, double *y, mp_call *call)
{
    if (*x < 0)
        return mp_fail(call, MP_ERANGE, "%g has no real root", *x);
    *y = sqrt(*x);
    return MP_OK;
}
MP_TASK(root, double, double);

static mp_status wait_for(const mp_ptr *semaphore, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    sem_wait(semaphore->address);
    return MP_OK;
}
MP_TASK(wait_for, mp_ptr, mp_none);

static void report(mp_future *future, void *user)
{
    const char *name = user;
    double y;
    if (mp_future_cancelled(future))
        printf("%s was cancelled\n", name);
    else if (mp_future_result(future, &y, 0) == MP_OK)
        printf("%s gave %g\n", name, y);
    else
        printf("%s failed: %s\n", name, mp_future_exception(future, 0)->message);
}

/* Python: raise in a callback. It is as if it had returned, and the next one runs. */
static void end_thread(mp_future *future, void *user)
{
    (void)future, (void)user;
    puts("this callback ends its thread");
    pthread_exit(NULL);
}

int main(void)
{
    sem_t go;
    sem_init(&go, 0, 0);
    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 1) {
        mp_future *first = mp_submit(executor, wait_for, (&(mp_ptr){&go})); /* keeps the only worker busy */
        mp_future *good = mp_submit(executor, root, (&(double){2.25}));
        mp_future *bad = mp_submit(executor, root, (&(double){-1}));
        mp_future *unwanted = mp_submit(executor, root, (&(double){4}));
        mp_future *last = mp_submit(executor, root, (&(double){9}));
        mp_future_add_done_callback(good, report, "the good one");
        mp_future_add_done_callback(bad, report, "the bad one");
        mp_future_add_done_callback(unwanted, report, "the unwanted one");
        mp_future_add_done_callback(last, end_thread, NULL);
        mp_future_add_done_callback(last, report, "the last one");

        mp_future_cancel(unwanted);
        sem_post(&go);
        mp_future_free(&first);
        mp_future_free(&good);
        mp_future_free(&bad);
        mp_future_free(&unwanted);
        mp_future_free(&last);
    }
}
