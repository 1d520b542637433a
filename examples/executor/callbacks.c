/* future.add_done_callback(f): called once when the future is done, any number of them, in the order in which they were added. */
#include <millpond.h>
#include <stdio.h>

static mp_status square(const int *x, int *y, mp_call *call)
{
    (void)call;
    *y = *x * *x;
    return MP_OK;
}
MP_TASK(square, int, int);

static void print(mp_future *future, void *user)
{
    int y;
    if (mp_future_result(future, &y, 0) == MP_OK) /* it is done: no waiting */
        printf("%s %d\n", (const char *)user, y);
}

int main(int argc, char **argv)
{
    (void)argv;
    mp_kind kind = argc > 1 ? MP_PROCESSES : MP_THREADS; /* ./callbacks processes */
    mp_future *two = NULL;

    MP_WITH_EXECUTOR (executor, .kind = kind, .max_workers = 2) {
        mp_future *one = mp_submit(executor, square, (&(int){5}));
        mp_future_add_done_callback(one, print, "one callback:");
        mp_future_free(&one); /* it runs all the same */
    }                         /* waits for callbacks too */

    MP_WITH_EXECUTOR (executor, .kind = kind, .max_workers = 2) {
        two = mp_submit(executor, square, (&(int){6}));
        mp_future_add_done_callback(two, print, "first of two:");
        mp_future_add_done_callback(two, print, "second of two:");
    }
    mp_future_add_done_callback(two, print, "after completion, so at once:");

    mp_future_free(&two);
}
