/* One bad task costs one task. Every handle completes exactly once, with a status that says what happened. */
#include <millpond.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static int *volatile nowhere = (int *)8;

static mp_status misbehave(const int32_t *how, int32_t *out, mp_call *call)
{
    (void)call;
    if (*how == 1)
        *nowhere = 1; /* MP_ECRASHED: SIGSEGV at 0x8, with a backtrace */
    while (*how == 2)
        pause(); /* MP_ETIMEDOUT: ended after .timeout */
    if (*how == 3)
        raise(SIGKILL); /* MP_ECRASHED: SIGKILL, as the kernel does when memory runs out */
    *out = *how;
    return MP_OK;
}
MP_TASK(misbehave, int32_t, int32_t);

int main(void)
{
    int32_t how[8] = {0, 1, 10, 2, 20, 3, 30, 40}, out[8];
    mp_status status[8];
    mp_error error[8];
    MP_WITH_POOL (pool, .processes = 2) {
        /* The five good items succeed, whichever chunk they shared with a bad one. */
        mp_pool_map(pool, misbehave, how, 8, out, .chunksize = 4, .timeout = 0.5, .retries = 1, .statuses = status,
                    .errors = error);
        for (int i = 0; i < 8; i++) {
            printf("%d: %s\n", i, mp_status_name(status[i]));
            if (status[i])
                mp_perror(&error[i]); /* with the input, the backtrace, and how to run it again in a debugger */
        }
    }
}
