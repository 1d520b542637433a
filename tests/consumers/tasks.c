/* The C side of the C++ consumer: tasks are registered in C. */
#include <millpond.h>

const mp_task *square_task(void);

static mp_status square(const int32_t *in, int64_t *out, mp_call *call)
{
    (void)call;
    *out = (int64_t)*in * *in;
    return MP_OK;
}
MP_TASK(square, int32_t, int64_t);

const mp_task *square_task(void)
{
    return &mp__task_square;
}
