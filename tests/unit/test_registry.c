/* The table of tasks that a pool takes: what it says of each. */
#include "pool/registry.h"
#include "tests/lib/check.h"
#include <millpond.h>
#include <string.h>

TestSuite(registry, .timeout = 60);

typedef struct {
    int32_t count;
    mp_ptr where[2];
} place;
MP_TYPE(place, count, where);

static mp_status plain(const double *in, mp_str *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    return MP_OK;
}
MP_TASK(plain, double, mp_str);

static mp_status takes_pointers(const mp_span_place *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    return MP_OK;
}
MP_TASK(takes_pointers, mp_span_place, mp_none);

static mp_status gives_pointer(const mp_none *in, mp_ptr *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    return MP_OK;
}
MP_TASK(gives_pointer, mp_none, mp_ptr);

static bool has_pointer(const mp__task_table *table, const mp_task *task)
{
    uint32_t index = 0;
    cr_assert_eq(mp__task_table_find(table, task, &index, NULL), MP_OK);
    cr_assert_str_eq(table->rows[index].name, task->name);
    return table->rows[index].has_pointer;
}

CHECK(registry, table__says_which_tasks_only_threads_can_run)
{
    mp__task_table table;
    cr_assert_eq(mp__task_table_take(&table), MP_OK);
    cr_assert_not(has_pointer(&table, &mp__task_plain));
    cr_assert(has_pointer(&table, &mp__task_takes_pointers));
    cr_assert(has_pointer(&table, &mp__task_gives_pointer));
    mp__task_table_fini(&table);
}
