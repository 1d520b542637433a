/* wait(futures, return_when=FIRST_COMPLETED), then shutdown(wait=False, cancel_futures=True): the first answer is enough. */
#include <millpond.h>
#include <semaphore.h>
#include <stdio.h>

typedef struct {
    int number;
    mp_ptr asked, silence;
} server;
MP_TYPE(server, number, asked, silence);

/* All servers but number 0 are silent until the end. */
static mp_status ask(const server *in, int *answer, mp_call *call)
{
    (void)call;
    if (in->number != 0) {
        sem_post(in->asked.address);
        sem_wait(in->silence.address);
    }
    *answer = 100 + in->number;
    return MP_OK;
}
MP_TASK(ask, server, int);

int main(void)
{
    sem_t asked, silence;
    mp_future *futures[6];
    int answer, cancelled = 0;
    sem_init(&asked, 0, 0);
    sem_init(&silence, 0, 0);

    MP_WITH_EXECUTOR (executor, .kind = MP_THREADS, .max_workers = 2) {
        for (int i = 0; i < 6; i++)
            futures[i] = mp_submit(executor, ask, (&(server){i, {&asked}, {&silence}}));
        mp_wait(futures, 6, MP_FIRST_COMPLETED, MP_FOREVER);
        for (int i = 0; i < 6; i++)
            if (mp_future_result(futures[i], &answer, 0) == MP_OK)
                printf("server %d was the first: %d\n", i, answer);

        sem_wait(&asked); /* now both workers wait for a silent server, ... */
        sem_wait(&asked);
        mp_executor_shutdown(executor, .wait = false, .cancel_futures = true);
        for (int i = 0; i < 6; i++)
            cancelled += mp_future_cancelled(futures[i]);
        printf("%d were not asked any more\n", cancelled); /* ... and the others never are */
        sem_post(&silence);
        sem_post(&silence);
        for (int i = 0; i < 6; i++)
            mp_future_free(&futures[i]);
    }
}
