/* executor.shutdown(): inside the block, again, and what becomes of a task that is submitted afterwards. */
#include <millpond.h>
#include <stdio.h>

static mp_status square(const int *x, int *y, mp_call *call)
{
    (void)call;
    *y = *x * *x;
    return MP_OK;
}
MP_TASK(square, int, int);

int main(int argc, char **argv)
{
    (void)argv;
    mp_kind kind = argc > 1 ? MP_PROCESSES : MP_THREADS; /* ./shutdown processes */
    int y = 0;
    MP_WITH_EXECUTOR (executor, .kind = kind, .max_workers = 2) {
        mp_future *before = mp_submit(executor, square, (&(int){7}));
        mp_executor_shutdown(executor); /* .wait = true, .cancel_futures = false */
        printf("done: %d\n", mp_future_done(before));
        mp_executor_shutdown(executor); /* once more does no harm; nor does the end of the block */

        mp_future *after = mp_submit(executor, square, (&(int){8})); /* RuntimeError; here a future that says why */
        printf("after shutdown: %s\n", mp_status_name(mp_future_result(after, &y, MP_FOREVER)));
        mp_future_result(before, &y, MP_FOREVER);
        printf("and before: %d\n", y);
        mp_future_free(&before);
        mp_future_free(&after);
    }
}
