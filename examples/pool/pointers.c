/* ThreadPool: nothing is serialized, so a task can take an address (mp_ptr) and work in place. A pool of processes refuses it. */
#include <millpond.h>
#include <stdio.h>

typedef struct {
    mp_ptr numbers;
    size_t count;
} part;
MP_TYPE(part, numbers, count);

static mp_status double_in_place(const part *in, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    double *numbers = in->numbers.address;
    for (size_t i = 0; i < in->count; i++)
        numbers[i] *= 2;
    return MP_OK;
}
MP_TASK(double_in_place, part, mp_none);

int main(void)
{
    static double numbers[1000];
    part parts[4];
    mp_error error = {0};
    for (int i = 0; i < 1000; i++)
        numbers[i] = i;
    for (int i = 0; i < 4; i++)
        parts[i] = (part){{&numbers[250 * i]}, 250};

    MP_WITH_POOL (threads, .kind = MP_THREADS, .processes = 4, .error = &error)
        mp_pool_map(threads, double_in_place, parts, 4, NULL, .error = &error);
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
    printf("the last is %g\n", numbers[999]);

    MP_WITH_POOL (processes, .processes = 2)
        printf("processes say %s\n", mp_status_name(mp_pool_map(processes, double_in_place, parts, 4, NULL)));
}
