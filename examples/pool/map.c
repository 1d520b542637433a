/* pool.map(f, items): the results in the order of the items. One that fails costs itself: the others have their results. */
#include <math.h>
#include <millpond.h>
#include <stdio.h>

static mp_status root(const double *x, double *y, mp_call *call)
{
    if (*x < 0)
        return mp_fail(call, MP_ERANGE, "%g has no real root", *x);
    *y = sqrt(*x);
    return MP_OK;
}
MP_TASK(root, double, double);

int main(int argc, char **argv)
{
    (void)argv;
    double squares[] = {0, 1, 4, -9, 16, 25, -36, 49}, roots[8];
    mp_status statuses[8];
    mp_error error = {0};
    MP_WITH_POOL (pool, .kind = argc > 1 ? MP_THREADS : MP_PROCESSES, .processes = 4, .error = &error)
        mp_pool_map(pool, root, squares, 8, roots, .statuses = statuses, .error = &error);

    if (error.item == MP_NO_ITEM) /* no pool, or it did not take the call: not one item's failure */
        return mp_perror(&error), 1;
    for (int i = 0; i < 8; i++)
        if (statuses[i] == MP_OK)
            printf("%g: %g\n", squares[i], roots[i]);
        else
            printf("%g: %s\n", squares[i], mp_status_name(statuses[i]));
    printf("the first that failed is item %zu: %s\n", error.item, error.message);
}
