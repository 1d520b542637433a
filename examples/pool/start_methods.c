/* get_context("spawn").Pool(2), and "forkserver", and "fork": how worker processes come to be, and what they inherit. */
#include <millpond.h>
#include <stdio.h>

static int loaded = 1; /* what the program has in memory when the pool opens */

static mp_status see(const int *x, int *y, mp_call *call)
{
    (void)call;
    *y = *x * loaded;
    return MP_OK;
}
MP_TASK(see, int, int);

int main(int argc, char **argv)
{
    mp_main(argc, argv); /* a worker that was executed afresh begins, and ends, here: `if __name__ == "__main__"` */
    loaded = 100;

    mp_start_method methods[] = {MP_FORK, MP_FORKSERVER, MP_SPAWN};
    const char *names[] = {"fork", "forkserver", "spawn"};
    for (int i = 0; i < 3; i++) {
        mp_error error = {0};
        int y = 0;
        MP_WITH_POOL (pool, .processes = 2, .start_method = methods[i], .error = &error)
            mp_pool_apply(pool, see, (&(int){7}), &y, .error = &error);
        if (error.status != MP_OK)
            return mp_perror(&error), 1;
        printf("%s: %d\n", names[i], y);
    }
}
