/* Follow-up tasks: one task's result is the next one's input. Submitted by hand, or promised in advance with mp_future_then. */
#include <millpond.h>
#include <stdio.h>

static mp_status half(const int *x, int *y, mp_call *call)
{
    if (*x % 2 != 0)
        return mp_fail(call, MP_EINVAL, "%d is odd", *x);
    *y = *x / 2;
    return MP_OK;
}
MP_TASK(half, int, int);

int main(int argc, char **argv)
{
    (void)argv;
    mp_kind kind = argc > 1 ? MP_PROCESSES : MP_THREADS; /* ./follow_up processes */
    int numbers[] = {12, 20, 28}, y;
    mp_future *futures[3];
    MP_WITH_EXECUTOR (executor, .kind = kind, .max_workers = 2) {
        for (int i = 0; i < 3; i++)
            futures[i] = mp_submit(executor, half, &numbers[i]);
        for (int i = 0; i < 3; i++) {
            mp_future_result(futures[i], &y, MP_FOREVER);
            mp_future_free(&futures[i]);
            futures[i] = mp_submit(executor, half, &y);
        }
        for (int i = 0; i < 3; i++) {
            mp_future_result(futures[i], &y, MP_FOREVER);
            printf("half of half of %d is %d\n", numbers[i], y);
            mp_future_free(&futures[i]);
        }

        /* The whole chain at once; where it fails, what follows does not run. */
        mp_future *first = mp_submit(executor, half, &numbers[0]);
        mp_future *second = mp_future_then(first, executor, half);
        mp_future *third = mp_future_then(second, executor, half);
        if (mp_future_result(second, &y, MP_FOREVER) == MP_OK)
            printf("then: %d\n", y);
        if (mp_future_result(third, &y, MP_FOREVER) != MP_OK)
            printf("then: %s\n", mp_future_exception(third, 0)->message);
        mp_future_free(&first);
        mp_future_free(&second);
        mp_future_free(&third);
    }
}
