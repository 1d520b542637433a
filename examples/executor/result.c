/* future.result() and future.result(timeout=...): a time-out is no failure, and nothing is lost. */
#include <millpond.h>
#include <semaphore.h>
#include <stdio.h>

static mp_status answer_when(const mp_ptr *ready, int *answer, mp_call *call)
{
    (void)call;
    sem_wait(ready->address);
    *answer = 42;
    return MP_OK;
}
MP_TASK(answer_when, mp_ptr, int);

int main(void)
{
    sem_t ready;
    int answer = 0;
    sem_init(&ready, 0, 0);

    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 1) {
        mp_future *future = mp_submit(executor, answer_when, (&(mp_ptr){&ready}));
        printf("a look: %s\n", mp_status_name(mp_future_result(future, &answer, 0)));
        printf("a twentieth of a second: %s\n", mp_status_name(mp_future_result(future, &answer, 0.05)));
        sem_post(&ready);
        printf("for ever: %s, ", mp_status_name(mp_future_result(future, &answer, MP_FOREVER)));
        printf("and the answer is %d\n", answer);
        answer = 0;
        printf("again: %s, ", mp_status_name(mp_future_result(future, &answer, 0)));
        printf("and the answer is still %d\n", answer);
        mp_future_free(&future);
    }
}
