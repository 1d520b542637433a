/* Hashes of task tables: what makes two tables the same, and what does not. */
#include "pool/registry.h"
#include "tests/lib/check.h"
#include <millpond.h>

TestSuite(hash, .timeout = 60);

static mp_status succeed(const void *in, void *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    return MP_OK;
}

static uint64_t hash_of(const char *const words[], const mp_type *const inputs[], int count)
{
    enum { MOST = 4 };
    mp_task tasks[MOST];
    mp_task_entry entries[MOST];
    mp__task_table table;
    for (int i = 0; i < count; i++) {
        mp_task task = {sizeof(mp_task), words[i], "", 0, inputs[i], &mp__type_double, succeed, NULL, NULL};
        memcpy(&tasks[i], &task, sizeof task);
        entries[i].task = &tasks[i];
        cr_assert(eq(int, mp_task_register(&entries[i], NULL), MP_OK));
    }
    cr_assert(eq(int, mp__task_table_take(&table), MP_OK));
    cr_assert(eq(sz, table.count, count));
    uint64_t hash = mp__task_table_hash(&table);
    mp__task_table_fini(&table);
    for (int i = 0; i < count; i++)
        mp_task_unregister(&entries[i]);
    return hash;
}

CHECK(hash, tasks_in_another_order__is_the_same)
{
    uint64_t forth = hash_of((const char *[]){"a", "b"}, (const mp_type *[]){&mp__type_int, &mp__type_double}, 2);
    uint64_t back = hash_of((const char *[]){"b", "a"}, (const mp_type *[]){&mp__type_double, &mp__type_int}, 2);
    cr_assert(eq(u64, forth, back));
}

CHECK(hash, other_tasks__is_another)
{
    const mp_type *types[] = {&mp__type_int, &mp__type_double};
    uint64_t both = hash_of((const char *[]){"a", "b"}, types, 2);
    cr_assert(ne(u64, both, hash_of((const char *[]){"a"}, types, 1)));
    cr_assert(ne(u64, both, hash_of((const char *[]){"a", "c"}, types, 2)));
    cr_assert(ne(u64, both, hash_of((const char *[]){"b", "a"}, types, 2)));
    cr_assert(ne(u64, both, hash_of(NULL, NULL, 0)));
}

typedef struct pair {
    int32_t x, y;
} pair;
MP_TYPE(pair, x, y);
typedef struct other_order {
    int32_t x, y;
} other_order;
MP_TYPE(other_order, y, x);
typedef struct other_name {
    int32_t x, z;
} other_name;
MP_TYPE(other_name, x, z);
typedef struct other_kind {
    int32_t x;
    uint32_t y;
} other_kind;
MP_TYPE(other_kind, x, y);
typedef struct other_place {
    int32_t x, between, y;
} other_place;
MP_TYPE(other_place, x, y);
typedef struct array {
    int32_t x, y[1];
} array;
MP_TYPE(array, x, y);
typedef struct longer_array {
    int32_t x, y[2];
} longer_array;
MP_TYPE(longer_array, x, y);
typedef struct nest {
    pair a;
} nest;
MP_TYPE(nest, (pair, a));
typedef struct other_nest {
    other_name a;
} other_nest;
MP_TYPE(other_nest, (other_name, a));
typedef struct spans {
    MP_SPAN(pair) all;
} spans;
MP_TYPE(spans, (pair, all));
typedef struct other_spans {
    MP_SPAN(other_kind) all;
} other_spans;
MP_TYPE(other_spans, (other_kind, all));

CHECK(hash, types_that_differ_anywhere__is_another)
{
    const mp_type *types[] = {&mp__type_pair,        &mp__type_other_order, &mp__type_other_name,   &mp__type_other_kind,
                              &mp__type_other_place, &mp__type_array,       &mp__type_longer_array, &mp__type_nest,
                              &mp__type_other_nest,  &mp__type_spans,       &mp__type_other_spans,  &mp__type_int};
    enum { COUNT = sizeof types / sizeof *types };
    uint64_t hashes[COUNT];
    for (int i = 0; i < COUNT; i++) {
        hashes[i] = hash_of((const char *[]){"task"}, &types[i], 1);
        for (int j = 0; j < i; j++)
            cr_assert(ne(u64, hashes[i], hashes[j]), "%s and %s", types[i]->name, types[j]->name);
    }
}
