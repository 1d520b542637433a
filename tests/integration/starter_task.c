/* A task that stands apart from the program that uses it: in a shared library, or linked in. */
#include "tests/integration/starter_task.h"
#include <millpond/task.h>

static mp_status thrice(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = 3 * *in;
    return MP_OK;
}
MP_TASK(thrice, int, int);

const mp_task *starter_task(void)
{
    return &mp__task_thrice;
}
