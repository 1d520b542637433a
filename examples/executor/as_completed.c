/* as_completed(futures): each future as soon as it is done, whatever the order in which they were submitted. */
#include <millpond.h>
#include <semaphore.h>
#include <stdio.h>

typedef struct {
    int number;
    mp_ptr ready; /* a semaphore: on threads a task may share the program's memory */
} dish;
MP_TYPE(dish, number, ready);

static mp_status cook(const dish *in, int *number, mp_call *call)
{
    (void)call;
    sem_wait(in->ready.address); /* stands for work that takes its time */
    *number = in->number;
    return MP_OK;
}
MP_TASK(cook, dish, int);

int main(void)
{
    sem_t ready[4];
    mp_future *futures[4], *done;

    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 4) {
        for (int i = 0; i < 4; i++) {
            sem_init(&ready[i], 0, 0);
            futures[i] = mp_submit(executor, cook, (&(dish){i, {&ready[i]}}));
        }
        sem_post(&ready[3]); /* the last one is ready first, ... */
        mp_as_completed *each = mp_as_completed_new(futures, 4, MP_FOREVER);
        while (mp_as_completed_next(each, &done) == MP_OK) {
            int number;
            if (mp_future_result(done, &number, 0) != MP_OK)
                break;
            printf("dish %d\n", number);
            if (number > 0)
                sem_post(&ready[number - 1]); /* ... and then the one before it */
        }
        mp_as_completed_free(&each);
        for (int i = 0; i < 4; i++)
            mp_future_free(&futures[i]);
    }
}
