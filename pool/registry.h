/* The tasks of this program, by name; and a pool's table of them, as it was when the pool was opened. */
#ifndef MP__POOL_REGISTRY_H
#define MP__POOL_REGISTRY_H
#include <millpond/task.h>

/* A task, and its name apart: a plugin that is unloaded takes its tasks with it. */
typedef struct mp__task_row {
    const mp_task *task;
    uint64_t hash; /* of its types, down to kinds, sizes, offsets, counts and field names */
    char name[MP_NAME_MAX];
    bool has_pointer; /* an mp_ptr in its input or result: only threads can run it */
} mp__task_row;

/* Sorted by name. A task's index in it is what travels. */
typedef struct mp__task_table {
    size_t count;
    mp__task_row *rows;
} mp__task_table;

mp_status mp__task_table_take(mp__task_table *table);
void mp__task_table_fini(mp__task_table *table);

/* Of the types of a task that was registered. */
uint64_t mp__task_hash(const mp_task *task);

/* Of names and types of all tasks: two tables with the same one can name tasks to each other by their index. */
uint64_t mp__task_table_hash(const mp__task_table *table);

/* Where the task stands in the table. MP_EINVAL: no task; MP_EUNREGISTERED, MP_EDUPLICATE: the error says what is registered,
 * why one may be missing, which two files clash. */
mp_status mp__task_table_find(const mp__task_table *table, const mp_task *task, uint32_t *index, mp_error *error);

#endif
