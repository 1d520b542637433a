/* Bad input: each has a status, and a text that says which argument, which item, which field, and what to do. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/says.h"
#include <millpond.h>
#include <stdio.h>

TestSuite(input, .timeout = 60);
TestSuite(task, .timeout = 60);
TestSuite(type, .timeout = 60);
TestSuite(value, .timeout = 60);

static mp_status same_int(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(same_int, int, int);

static mp_pool *open_pool(int processes)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(eq(int, mp_pool_open(&pool, .processes = processes, .error = &error), MP_OK), "%s", error.message);
    return pool;
}

/* What is true of every call that was wrong: nothing ran, and the error says so of the call, not of an item. */
static void expect_refused(mp_pool *pool, const mp_error *error, mp_status got, mp_status wanted, const char *text)
{
    mp_pool_stats stats;
    cr_assert(eq(int, got, wanted), "%s", error->message);
    cr_assert(eq(int, error->status, wanted));
    cr_assert(says(error, text), "wanted \"%s\" in: %s", text, error->message);
    cr_assert(eq(sz, error->item, MP_NO_ITEM));
    cr_assert(eq(int, error->worker, MP_NO_WORKER));
    cr_assert(eq(int, mp_pool_get_stats(pool, &stats), MP_OK));
    cr_assert(zero(u64, stats.accepted));
}

static void expect_map_refused(const mp_task *task, const void *items, size_t n, void *out, mp_status wanted,
                               const char *text)
{
    mp_error error;
    mp_pool *pool = open_pool(1);
    spoil(&error, sizeof error);
    mp_status status = mp_pool_map_task(pool, task, items, n, out, &(mp_map_options){.error = &error});
    expect_refused(pool, &error, status, wanted, text);
    mp_pool_free(&pool);
}

/* ---- arguments ---- */

CHECK(input, no_task__is_refused)
{
    int item = 1, result;
    expect_map_refused(NULL, &item, 1, &result, MP_EINVAL, "no task");
    expect_map_refused(NULL, &item, 1, &result, MP_EINVAL, "MP_TASK");
}

CHECK(input, no_items__is_refused_with_their_number_and_type)
{
    int result[3];
    expect_map_refused(&mp__task_same_int, NULL, 3, result, MP_EINVAL, "3 items but no array");
    expect_map_refused(&mp__task_same_int, NULL, 3, result, MP_EINVAL, "'int'");
}

CHECK(input, no_results__is_refused_with_task_and_type)
{
    int items[3] = {0};
    expect_map_refused(&mp__task_same_int, items, 3, NULL, MP_EINVAL, "task 'same_int' gives a 'int'");
}

CHECK(input, absurd_number_of_items__is_refused)
{
    int item = 1, result;
    expect_map_refused(&mp__task_same_int, &item, SIZE_MAX, &result, MP_EINVAL, "18446744073709551615 items");
    expect_map_refused(&mp__task_same_int, &item, SIZE_MAX / 2, &result, MP_EINVAL, "is n right?");
}

CHECK(input, no_arrays_but_no_items_either__is_fine)
{
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_map_task(pool, &mp__task_same_int, NULL, 0, NULL, NULL), MP_OK));
    mp_pool_free(&pool);
}

CHECK(input, no_options__is_fine)
{
    int item = 5, result = 0;
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_map_task(pool, &mp__task_same_int, &item, 1, &result, NULL), MP_OK));
    cr_assert(eq(int, result, 5));
    cr_assert(eq(int, mp_pool_apply_task(pool, &mp__task_same_int, &item, &result, NULL), MP_OK));
    mp_pool_free(&pool);
}

CHECK(input, wrong_call__names_the_task)
{
    int item = 1;
    mp_error error;
    mp_pool *pool = open_pool(1);
    mp_pool_map_task(pool, &mp__task_same_int, &item, 1, NULL, &(mp_map_options){.error = &error});
    cr_assert(eq(str, (char *)error.task, "same_int"));
    char text[600];
    mp_error_format(&error, text, sizeof text);
    cr_assert(eq(int, strncmp(text, "same_int: ", 10), 0), "%s", text);
    mp_pool_free(&pool);
}

/* ---- tasks that nobody registered, or twice ---- */

static mp_status run_same_int(const void *in, void *out, mp_call *call)
{
    return same_int(in, out, call);
}

static mp_task by_hand(const char *name)
{
    return (mp_task){.layout = sizeof(mp_task),
                     .name = name,
                     .file = "here.c",
                     .line = 7,
                     .input = &mp__type_int,
                     .output = &mp__type_int,
                     .run = run_same_int};
}

CHECK(task, not_registered__is_refused_with_what_is_and_why)
{
    int item = 1, result;
    mp_task task = by_hand("ghost");
    expect_map_refused(&task, &item, 1, &result, MP_EUNREGISTERED, "task 'ghost' is not registered");
    expect_map_refused(&task, &item, 1, &result, MP_EUNREGISTERED, "same_int");
    expect_map_refused(&task, &item, 1, &result, MP_EUNREGISTERED, "link_whole");
}

CHECK(task, registered_by_hand__works_until_it_is_unregistered)
{
    int item = 6, result = 0;
    mp_error error;
    mp_task task = by_hand("late");
    mp_task_entry entry = {.task = &task};
    spoil(&error, sizeof error);
    cr_assert(eq(int, mp_task_register(&entry, &error), MP_OK));
    cr_assert(is_zero(&error, sizeof error));
    cr_assert(eq(ptr, (void *)mp_task_find("late"), &task));
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_map_task(pool, &task, &item, 1, &result, NULL), MP_OK));
    cr_assert(eq(int, result, 6));
    mp_pool_free(&pool);
    mp_task_unregister(&entry);
    cr_assert(eq(ptr, (void *)mp_task_find("late"), NULL));
    expect_map_refused(&task, &item, 1, &result, MP_EUNREGISTERED, "'late' is not registered");
}

CHECK(task, registered_after_the_pool_was_opened__is_refused_with_the_reason)
{
    int item = 6, result = 0;
    mp_error error;
    mp_task task = by_hand("too_late");
    mp_task_entry entry = {.task = &task};
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_task_register(&entry, NULL), MP_OK));
    mp_status status = mp_pool_map_task(pool, &task, &item, 1, &result, &(mp_map_options){.error = &error});
    expect_refused(pool, &error, status, MP_EUNREGISTERED, "after this pool was opened");
    mp_pool_free(&pool);
    mp_task_unregister(&entry);
}

CHECK(task, registered_twice__is_fine)
{
    mp_task task = by_hand("again");
    mp_task_entry entry = {.task = &task}, other = {.task = &task};
    cr_assert(eq(int, mp_task_register(&entry, NULL), MP_OK));
    cr_assert(eq(int, mp_task_register(&entry, NULL), MP_OK));
    cr_assert(eq(int, mp_task_register(&other, NULL), MP_OK));
    mp_task_unregister(&other);
    cr_assert(eq(ptr, (void *)mp_task_find("again"), &task));
    mp_task_unregister(&entry);
    cr_assert(eq(ptr, (void *)mp_task_find("again"), NULL));
}

CHECK(task, second_of_the_same_name__is_refused_with_both_places)
{
    mp_error error;
    mp_task one = by_hand("twin"), two = by_hand("twin");
    mp_task_entry first = {.task = &one}, second = {.task = &two};
    two.file = "there.c";
    two.line = 8;
    cr_assert(eq(int, mp_task_register(&first, NULL), MP_OK));
    cr_assert(eq(int, mp_task_register(&second, &error), MP_EDUPLICATE));
    cr_assert(says(&error, "two tasks are named 'twin'"), "%s", error.message);
    cr_assert(says(&error, "here.c:7"), "%s", error.message);
    cr_assert(says(&error, "there.c:8"), "%s", error.message);
    mp_task_unregister(&second);
    cr_assert(eq(ptr, (void *)mp_task_find("twin"), &one));
    mp_task_unregister(&first);
}

CHECK(task, second_of_the_same_name_in_a_call__is_refused_the_first_works)
{
    int item = 6, result = 0;
    mp_task one = by_hand("twin"), two = by_hand("twin");
    mp_task_entry first = {.task = &one}, second = {.task = &two};
    two.file = "there.c";
    cr_assert(eq(int, mp_task_register(&first, NULL), MP_OK));
    cr_assert(eq(int, mp_task_register(&second, NULL), MP_EDUPLICATE));
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_map_task(pool, &one, &item, 1, &result, NULL), MP_OK));
    mp_pool_free(&pool);
    expect_map_refused(&two, &item, 1, &result, MP_EDUPLICATE, "there.c");
    mp_task_unregister(&first);
}

static void expect_not_registered(mp_task task, mp_status wanted, const char *text)
{
    mp_error error;
    mp_task_entry entry = {.task = &task};
    spoil(&error, sizeof error);
    cr_assert(eq(int, mp_task_register(&entry, &error), wanted), "%s", error.message);
    cr_assert(says(&error, text), "wanted \"%s\" in: %s", text, error.message);
    mp_task_unregister(&entry);
    int item = 1, result;
    expect_map_refused(&task, &item, 1, &result, wanted, text);
}

CHECK(task, without_a_name__is_refused)
{
    expect_not_registered(by_hand(NULL), MP_EINVAL, "has no name");
    expect_not_registered(by_hand(""), MP_EINVAL, "has no name");
}

CHECK(task, with_a_name_of_64_bytes__is_refused)
{
    char name[65];
    memset(name, 'n', 64);
    name[64] = 0;
    expect_not_registered(by_hand(name), MP_EINVAL, "longer than 63 bytes");
    name[63] = 0;
    mp_task task = by_hand(name);
    mp_task_entry entry = {.task = &task};
    cr_assert(eq(int, mp_task_register(&entry, NULL), MP_OK));
    mp_task_unregister(&entry);
}

CHECK(task, without_a_function__is_refused)
{
    mp_task task = by_hand("hollow");
    task.run = NULL;
    expect_not_registered(task, MP_EINVAL, "has no function");
}

CHECK(task, of_another_version__is_refused)
{
    mp_task task = by_hand("old");
    task.layout = 8;
    expect_not_registered(task, MP_EINVAL, "other headers");
}

CHECK(task, no_entry__is_refused)
{
    mp_error error;
    cr_assert(eq(int, mp_task_register(NULL, &error), MP_EINVAL));
    cr_assert(says(&error, "entry"), "%s", error.message);
    cr_assert(eq(ptr, (void *)mp_task_find(NULL), NULL));
    cr_assert(eq(ptr, (void *)mp_task_find("no such task"), NULL));
}

/* ---- types ---- */

static void expect_type_refused(const mp_type *type, mp_status wanted, const char *text)
{
    mp_task task = by_hand("ill_typed");
    task.input = type;
    expect_not_registered(task, wanted, text);
    task.input = &mp__type_int;
    task.output = type;
    expect_not_registered(task, wanted, "output type of task 'ill_typed'");
}

CHECK(type, raw_pointer_in_a_field__is_refused_with_the_field)
{
    typedef struct bad {
        int *numbers;
    } bad;
    mp_field field = {"numbers", 0, 0, NULL};
    mp_type type = {sizeof(mp_type), MP__STRUCT, sizeof(bad), _Alignof(bad), "bad", 1, &field, NULL};
    expect_type_refused(&type, MP_EINVAL, "'numbers'");
    expect_type_refused(&type, MP_EINVAL, "MP_SPAN");
}

CHECK(type, nested_too_deep__is_refused)
{
    enum { DEEP = 34 };
    static mp_type types[DEEP];
    static mp_field fields[DEEP];
    for (int i = 0; i < DEEP; i++) {
        fields[i] = (mp_field){"inner", 0, 0, i ? &types[i - 1] : &mp__type_int};
        types[i] = (mp_type){sizeof(mp_type), MP__STRUCT, sizeof(int), _Alignof(int), "nest", 1, &fields[i], NULL};
    }
    expect_type_refused(&types[DEEP - 1], MP_ELIMIT, "nested more than");
}

CHECK(type, as_deep_as_allowed__works)
{
    static mp_type types[MP_DEPTH_MAX];
    static mp_field fields[MP_DEPTH_MAX];
    int item = 77, result = 0;
    for (int i = 0; i < MP_DEPTH_MAX; i++) {
        fields[i] = (mp_field){"inner", 0, 0, i ? &types[i - 1] : &mp__type_int};
        types[i] = (mp_type){sizeof(mp_type), MP__STRUCT, sizeof(int), _Alignof(int), "nest", 1, &fields[i], NULL};
    }
    mp_task task = by_hand("deep");
    task.input = task.output = &types[MP_DEPTH_MAX - 1];
    mp_task_entry entry = {.task = &task};
    mp_error error;
    cr_assert(eq(int, mp_task_register(&entry, &error), MP_OK), "%s", error.message);
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_map_task(pool, &task, &item, 1, &result, &(mp_map_options){.error = &error}), MP_OK), "%s",
              error.message);
    cr_assert(eq(int, result, 77));
    mp_pool_free(&pool);
    mp_task_unregister(&entry);
}

CHECK(type, that_contains_itself__is_refused)
{
    static mp_type type;
    static mp_field field;
    static mp_type span;
    span = (mp_type){sizeof(mp_type), MP__SPAN_OF, 16, 8, "span of self", 0, NULL, &type};
    field = (mp_field){"children", 0, 0, &span};
    type = (mp_type){sizeof(mp_type), MP__STRUCT, 16, 8, "self", 1, &field, NULL};
    expect_type_refused(&type, MP_ELIMIT, "children");
}

CHECK(type, too_large__is_refused)
{
    mp_field field = {"bytes", 0, (size_t)1 << 31, &mp__type_int8_t};
    mp_type type = {sizeof(mp_type), MP__STRUCT, (size_t)1 << 31, 1, "huge", 1, &field, NULL};
    expect_type_refused(&type, MP_ELIMIT, "larger than MP_TYPE_SIZE_MAX");
}

CHECK(type, field_outside_of_its_struct__is_refused_with_the_field)
{
    mp_field field = {"far", 8, 0, &mp__type_int};
    mp_type type = {sizeof(mp_type), MP__STRUCT, 8, 4, "small", 1, &field, NULL};
    expect_type_refused(&type, MP_EINVAL, "'far'");
}

CHECK(type, without_fields__is_refused)
{
    mp_type type = {sizeof(mp_type), MP__STRUCT, 8, 4, "void", 0, NULL, NULL};
    expect_type_refused(&type, MP_EINVAL, "no fields");
}

CHECK(type, missing__is_refused)
{
    mp_task task = by_hand("untyped");
    task.input = NULL;
    expect_not_registered(task, MP_EINVAL, "input type of task 'untyped'");
}

/* ---- values ---- */

typedef struct label {
    int number;
    mp_str name;
} label;
MP_TYPE(label, number, name);

typedef struct sheet {
    MP_SPAN(label) labels;
    bool flag;
    mp_bytes raw;
    mp_any any;
    MP_SPAN(double) numbers;
    char code[4];
} sheet;
MP_TYPE(sheet, (label, labels), flag, raw, any, numbers, code);

static const unsigned char nil[] = {0xc0};

/* What the task puts into its result: the same kinds of wrong values as what callers put into items. */
typedef enum wrong {
    RIGHT,
    BAD_TEXT,
    BAD_BOOL,
    NULL_BYTES,
    NULL_SPAN,
    NULL_TEXT,
    NULL_ANY,
    BAD_ANY,
    EMPTY_ANY,
    BAD_CODE
} wrong;

static label labels[3];

static sheet make_sheet(wrong what)
{
    static const char bad_text[] = {'a', 'b', (char)0xff, 'c'};
    static double numbers[2] = {1, 2};
    for (int i = 0; i < 3; i++)
        labels[i] = (label){i, {"name", 4}};
    sheet made = {.labels = {labels, 3}, .raw = {"raw", 3}, .any = {nil, 1}, .numbers = {numbers, 2}, .code = "abc"};
    switch (what) {
    case RIGHT: break;
    case BAD_TEXT: labels[2].name = (mp_str){bad_text, 4}; break;
    case BAD_BOOL: memset(&made.flag, 2, 1); break;
    case NULL_BYTES: made.raw = (mp_bytes){NULL, 5}; break;
    case NULL_SPAN: made.numbers = (mp_span_double){NULL, 5}; break;
    case NULL_TEXT: labels[1].name = (mp_str){NULL, 5}; break;
    case NULL_ANY: made.any = (mp_any){NULL, 5}; break;
    case BAD_ANY: made.any = (mp_any){"\x93\x01", 2}; break;
    case EMPTY_ANY: made.any = (mp_any){nil, 0}; break;
    case BAD_CODE: memcpy(made.code, "a\xff", 3); break;
    }
    return made;
}

static mp_status read_sheet(const sheet *in, int *out, mp_call *call)
{
    (void)call;
    *out = (int)in->labels.count;
    return MP_OK;
}
MP_TASK(read_sheet, sheet, int);

static mp_status write_sheet(const int *in, sheet *out, mp_call *call)
{
    (void)call;
    *out = make_sheet((wrong)*in);
    return MP_OK;
}
MP_TASK(write_sheet, int, sheet);

/* Item 2 of 5 is wrong: it fails, by name of the field, and the others do not. */
static void expect_item_refused(wrong what, mp_status wanted, const char *field)
{
    sheet items[5];
    int results[5];
    mp_status statuses[5];
    mp_error error;
    label kept[3];
    for (int i = 0; i < 5; i++)
        items[i] = make_sheet(RIGHT);
    memcpy(kept, labels, sizeof kept);
    items[2] = make_sheet(what);
    for (int i = 0; i < 5; i++)
        if (i != 2)
            items[i].labels.items = kept;
    mp_pool *pool = open_pool(2);
    mp_status status =
        mp_pool_map(pool, read_sheet, items, 5, results, .chunksize = 5, .statuses = statuses, .error = &error);
    cr_assert(eq(int, status, wanted), "%s", error.message);
    cr_assert(eq(sz, error.item, 2));
    cr_assert(eq(str, (char *)error.task, "read_sheet"));
    cr_assert(says(&error, field), "wanted \"%s\" in: %s", field, error.message);
    for (int i = 0; i < 5; i++) {
        cr_assert(eq(int, statuses[i], i == 2 ? wanted : MP_OK), "item %d", i);
        cr_assert(eq(int, results[i], i == 2 ? 0 : 3), "item %d", i);
    }
    mp_pool_free(&pool);
}

static void expect_result_refused(wrong what, mp_status wanted, const char *field)
{
    int items[5] = {RIGHT, RIGHT, (int)what, RIGHT, RIGHT};
    sheet results[5];
    mp_status statuses[5];
    mp_error error;
    mp_pool *pool = open_pool(2);
    mp_status status =
        mp_pool_map(pool, write_sheet, items, 5, results, .chunksize = 5, .statuses = statuses, .error = &error);
    cr_assert(eq(int, status, wanted), "%s", error.message);
    cr_assert(eq(sz, error.item, 2));
    cr_assert(says(&error, field), "wanted \"%s\" in: %s", field, error.message);
    cr_assert(says(&error, "result"), "%s", error.message);
    cr_assert(ge(int, error.worker, 0), "it ran somewhere");
    for (int i = 0; i < 5; i++) {
        cr_assert(eq(int, statuses[i], i == 2 ? wanted : MP_OK), "item %d", i);
        cr_assert(eq(sz, results[i].labels.count, i == 2 ? 0 : 3), "item %d", i);
    }
    cr_assert(is_zero(&results[2], sizeof results[2]));
    mp_free(sheet, results, 5);
    mp_pool_free(&pool);
}

#define WRONG_VALUE(name, what, status, field)                                                                             \
    CHECK(value, name##_in_an_item__fails_it_by_field)                                                                     \
    {                                                                                                                      \
        expect_item_refused(what, status, field);                                                                          \
    }                                                                                                                      \
    CHECK(value, name##_in_a_result__fails_it_by_field)                                                                    \
    {                                                                                                                      \
        expect_result_refused(what, status, field);                                                                        \
    }
WRONG_VALUE(text_that_is_not_utf8, BAD_TEXT, MP_EENCODING, "'labels[2].name'")
WRONG_VALUE(fixed_text_that_is_not_utf8, BAD_CODE, MP_EENCODING, "'code'")
WRONG_VALUE(bool_of_2, BAD_BOOL, MP_EINVAL, "'flag'")
WRONG_VALUE(null_bytes_with_a_size, NULL_BYTES, MP_EINVAL, "'raw'")
WRONG_VALUE(null_span_with_a_count, NULL_SPAN, MP_EINVAL, "'numbers'")
WRONG_VALUE(null_text_with_a_size, NULL_TEXT, MP_EINVAL, "'labels[1].name'")
WRONG_VALUE(null_any_with_a_size, NULL_ANY, MP_EINVAL, "'any'")
WRONG_VALUE(any_that_is_cut_short, BAD_ANY, MP_EINVAL, "'any'")
WRONG_VALUE(empty_any, EMPTY_ANY, MP_EINVAL, "'any'")

CHECK(value, text_that_is_not_utf8__says_where_in_it)
{
    int out;
    sheet bad = make_sheet(BAD_TEXT);
    mp_error error;
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_apply(pool, read_sheet, &bad, &out, .error = &error), MP_EENCODING));
    cr_assert(says(&error, "byte 2"), "%s", error.message);
    cr_assert(says(&error, "UTF-8"), "%s", error.message);
    mp_pool_free(&pool);
}

/* A size that no item may have is refused before anything is read or sent: the memory is not even there. */
static mp_status size_of_bytes(const mp_bytes *in, uint64_t *out, mp_call *call)
{
    (void)call;
    *out = in->size;
    return MP_OK;
}
MP_TASK(size_of_bytes, mp_bytes, uint64_t);

CHECK(value, larger_than_the_limit__is_refused)
{
    mp_bytes item = {"x", (size_t)MP_ITEM_SIZE_MAX + 1};
    uint64_t result;
    mp_error error;
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_apply(pool, size_of_bytes, &item, &result, .error = &error), MP_ELIMIT), "%s", error.message);
    item.size = SIZE_MAX; /* no size at all: it cannot be added to anything */
    cr_assert(eq(int, mp_pool_apply(pool, size_of_bytes, &item, &result, .error = &error), MP_EINVAL), "%s", error.message);
    item.size = 1;
    cr_assert(eq(int, mp_pool_apply(pool, size_of_bytes, &item, &result), MP_OK), "and the pool works");
    mp_pool_free(&pool);
}

/* Depth: an mp_any may be as deep as is left where it stands. */
static mp_status same_any(const mp_any *in, mp_any *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(same_any, mp_any, mp_any);

CHECK(value, any_nested_too_deep__is_refused)
{
    unsigned char deep[MP_DEPTH_MAX + 2];
    mp_any items[2] = {{deep + 1, sizeof deep - 1}, {deep, sizeof deep}}, results[2];
    mp_status statuses[2];
    mp_error error;
    memset(deep, 0x91, sizeof deep); /* arrays of one, and nil in the innermost */
    deep[sizeof deep - 1] = 0xc0;
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_map(pool, same_any, items, 2, results, .statuses = statuses, .error = &error), MP_ELIMIT),
              "%s", error.message);
    cr_assert(eq(int, statuses[0], MP_OK), "32 deep");
    cr_assert(eq(int, statuses[1], MP_ELIMIT), "33 deep");
    cr_assert(eq(sz, results[0].size, 33));
    mp_free(mp_any, results, 2);
    mp_pool_free(&pool);
}
