/* Pool(2, maxtasksperchild=5): a worker is replaced after so many items, for tasks that leak or litter. */
#include <millpond.h>
#include <stdio.h>
#include <unistd.h>

static mp_status who_am_i(const mp_none *in, int *pid, mp_call *call)
{
    (void)in, (void)call;
    *pid = getpid();
    return MP_OK;
}
MP_TASK(who_am_i, mp_none, int);

int main(void)
{
    int pids[40];
    mp_error error = {0};
    MP_WITH_POOL (pool, .processes = 2, .maxtasksperchild = 5, .error = &error)
        mp_pool_map(pool, who_am_i, NULL, 40, pids, .error = &error);
    if (error.status != MP_OK)
        return mp_perror(&error), 1;

    int most = 0, processes = 0;
    for (int i = 0; i < 40; i++) {
        int before = 0, all = 0;
        for (int k = 0; k < 40; k++) {
            all += pids[k] == pids[i];
            before += k < i && pids[k] == pids[i];
        }
        most = all > most ? all : most;
        processes += before == 0;
    }
    printf("40 items, eight processes or more: %s; five items each or fewer: %s\n", processes >= 8 ? "yes" : "no",
           most <= 5 ? "yes" : "no");
}
