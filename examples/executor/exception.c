/* What a task raises: seen in result(), asked for with exception(), dealt with in the task itself, and in the middle of a map. */
#include <millpond.h>
#include <stdio.h>

static mp_status invert(const int *x, double *y, mp_call *call)
{
    if (*x == 0)
        return mp_fail(call, MP_EINVAL, "0 has no inverse"); /* raise ValueError("0 has no inverse") */
    *y = 1.0 / *x;
    return MP_OK;
}
MP_TASK(invert, int, double);

static mp_status invert_or_zero(const int *x, double *y, mp_call *call)
{
    if (invert(x, y, call) != MP_OK) /* try: ... except ValueError: */
        *y = 0;
    return MP_OK;
}
MP_TASK(invert_or_zero, int, double);

int main(int argc, char **argv)
{
    (void)argv;
    mp_kind kind = argc > 1 ? MP_PROCESSES : MP_THREADS; /* ./exception processes */
    int zero = 0, numbers[] = {4, 0, 2};
    double y;
    MP_WITH_EXECUTOR (executor, .kind = kind, .max_workers = 2) {
        mp_future *future = mp_submit(executor, invert, &zero);
        printf("result: %s\n", mp_status_name(mp_future_result(future, &y, MP_FOREVER)));
        printf("exception: %s\n", mp_future_exception(future, MP_FOREVER)->message);
        mp_future_free(&future);

        future = mp_submit(executor, invert_or_zero, &zero);
        if (mp_future_result(future, &y, MP_FOREVER) == MP_OK)
            printf("handled in the task: %g\n", y);
        mp_future_free(&future);

        mp_status status;
        mp_iter *results = mp_executor_map(executor, invert, numbers, 3);
        while ((status = mp_iter_next(results, &y, MP_FOREVER)) != MP_END)
            if (status == MP_OK)
                printf("map: %g\n", y);
            else
                printf("map: %s\n", mp_iter_error(results)->message); /* and it goes on */
        mp_iter_free(&results);
    }
}
