/* A program outside the tree, with nothing but what is installed: a type, a task, a function that existed already. */
#include <math.h>
#include <millpond.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    double x, y;
    char unit[4];
} vector;
MP_TYPE(vector, x, y, unit);

static mp_status stretch(const vector *in, vector *out, mp_call *call)
{
    if (in->x < 0)
        return mp_fail(call, MP_EINVAL, "x must not be negative, got %g", in->x);
    *out = (vector){2 * in->x, 2 * in->y, "cm"};
    return MP_OK;
}
MP_TASK(stretch, vector, vector);

double norm(double x, double y);
double norm(double x, double y)
{
    return sqrt(x * x + y * y);
}
MP_FUNCTION(double, norm, (double, x), (double, y));

int main(void)
{
    if (strcmp(mp_version(), "0.1.0") != 0)
        return printf("the library says it is version %s\n", mp_version()), 1;

    mp_error error;
    mp_status status = MP_EINVAL, failed = MP_OK;
    vector in[100], out[100];
    double length = 0;
    for (int i = 0; i < 100; i++)
        in[i] = (vector){i, i + 1, "mm"};
    MP_WITH_POOL (pool, .processes = 2, .error = &error) {
        status = mp_pool_map(pool, stretch, in, 100, out, .chunksize = 7, .error = &error);
        if (status == MP_OK)
            status = mp_pool_apply(pool, norm, (&(norm_args){3, 4}), &length, .error = &error);
        failed = mp_pool_apply(pool, stretch, (&(vector){.x = -1}), &out[0]);
    }
    if (status != MP_OK)
        return mp_perror(&error), 1;
    for (int i = 1; i < 100; i++)
        if (out[i].x != 2 * i || out[i].y != 2 * (i + 1) || strcmp(out[i].unit, "cm") != 0)
            return printf("item %d is wrong\n", i), 1;
    if (length != 5 || failed != MP_EINVAL)
        return printf("norm is %g, the failing item has status %d\n", length, (int)failed), 1;
    return puts("it works"), 0;
}
