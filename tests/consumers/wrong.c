/* CASE 0 is right; every other CASE is a mistake that the compiler must see. */
#include <millpond.h>

typedef struct {
    double x, y;
} point;
MP_TYPE(point, x, y);

static mp_status size_of(const point *in, double *out, mp_call *call)
{
    (void)call;
    *out = in->x * in->x + in->y * in->y;
    return MP_OK;
}
MP_TASK(size_of, point, double);

typedef struct {
    mp_ptr one, three[3];
    mp_span_mp_ptr many;
} addresses;
MP_TYPE(addresses, one, three, many);

#if CASE == 5
typedef struct {
    double *numbers;
} pointing;
MP_TYPE(pointing, numbers);
#elif CASE == 9
typedef struct {
    void *anything;
} pointing;
MP_TYPE(pointing, anything);
#elif CASE == 10
typedef struct {
    const char *text;
} pointing;
MP_TYPE(pointing, text);
#elif CASE == 6
static mp_status narrow(const point *in, float *out, mp_call *call);
MP_TASK(narrow, point, double);
#elif CASE == 7
typedef struct {
    int a;
} lone;
MP_TYPE(lone, a, b);
#endif

int main(void)
{
    point points[3] = {{1, 2}, {3, 4}, {5, 6}};
    double sizes[3];
#if CASE == 1
    mp_pool_map((mp_pool *)0, size_of, sizes, 3, sizes);
#elif CASE == 2
    mp_pool_map((mp_pool *)0, size_of, points, 3, points, .chunksize = 2);
#elif CASE == 3
    mp_pool_apply((mp_pool *)0, size_of, sizes, sizes);
#elif CASE == 4
    mp_free(point, sizes, 3);
#elif CASE == 8
    mp_pool_map((mp_pool *)0, main, points, 3, sizes);
#else
    mp_pool_map((mp_pool *)0, size_of, points, 3, sizes, .chunksize = 2);
    mp_free(point, points, 3);
#endif
    return (int)points[0].x + (int)sizes[0];
}
