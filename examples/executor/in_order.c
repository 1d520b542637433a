/* submit, and use the results in the order of submission: each is waited for in turn, while the others run. */
#include <millpond.h>
#include <stdio.h>

static mp_status count_bits(const unsigned *number, int *bits, mp_call *call)
{
    (void)call;
    *bits = __builtin_popcount(*number);
    return MP_OK;
}
MP_TASK(count_bits, unsigned, int);

int main(int argc, char **argv)
{
    (void)argv;
    mp_kind kind = argc > 1 ? MP_PROCESSES : MP_THREADS; /* ./in_order processes */
    unsigned numbers[] = {7, 255, 256, 1000000};
    mp_future *futures[4];

    MP_WITH_EXECUTOR (executor, .kind = kind, .max_workers = 2) {
        for (int i = 0; i < 4; i++)
            futures[i] = mp_submit(executor, count_bits, &numbers[i]);
        for (int i = 0; i < 4; i++) {
            int bits;
            if (mp_future_result(futures[i], &bits, MP_FOREVER) == MP_OK)
                printf("%u has %d bits set\n", numbers[i], bits);
            else
                mp_perror(mp_future_exception(futures[i], 0));
            mp_future_free(&futures[i]);
        }
    }
}
