/* What travels: functions as they are, numbers, texts, nested types, spans, irregular values; and what a task may ask. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/says.h"
#include <math.h>
#include <millpond.h>
#include <msgpack.h>

TestSuite(function, .timeout = 60);
TestSuite(data, .timeout = 60);
TestSuite(call, .timeout = 60);

static mp_pool *open_pool(int processes)
{
    mp_pool *pool;
    mp_error error;
    mp_status status = mp_pool_open(&pool, .processes = processes, .error = &error);
    cr_assert(eq(int, status, MP_OK), "%s", error.message);
    return pool;
}

/* ---- functions as they are ---- */

static double norm(double x, double y)
{
    return sqrt(x * x + y * y);
}
MP_FUNCTION(double, norm, (double, x), (double, y));

static uint32_t length_of(mp_str text, int times, bool twice)
{
    return (uint32_t)text.size * (uint32_t)times * (twice ? 2 : 1);
}
MP_FUNCTION(uint32_t, length_of, (mp_str, text), (int, times), (bool, twice));

static int forty_two(void)
{
    return 42;
}
MP_FUNCTION0(int, forty_two);

static void tick_by(int count)
{
    tally->word[0] += count;
}
MP_FUNCTION(void, tick_by, (int, count));

static void tick(void)
{
    tally->word[0]++;
}
MP_FUNCTION0(void, tick);

CHECK(function, several_arguments__equals_calling_it)
{
    norm_args items[] = {{3, 4}, {5, 12}, {-1.5, 2.25}, {INFINITY, 1}};
    double results[4];
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_map(pool, norm, items, 4, results), MP_OK));
    for (int i = 0; i < 4; i++)
        cr_assert(eq(dbl, results[i], norm(items[i].x, items[i].y)));
    mp_pool_free(&pool);
}

CHECK(function, arguments_of_different_types__equals_calling_it)
{
    length_of_args item = {.text = mp_str_of("mühle"), .times = 3, .twice = true};
    uint32_t result;
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_apply(pool, length_of, &item, &result), MP_OK));
    cr_assert(eq(u32, result, 36));
    mp_pool_free(&pool);
}

CHECK(function, no_argument__maps_over_null)
{
    int results[5] = {0};
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_map(pool, forty_two, NULL, 5, results), MP_OK));
    for (int i = 0; i < 5; i++)
        cr_assert(eq(int, results[i], 42));
    mp_pool_free(&pool);
}

CHECK(function, no_result__maps_into_null)
{
    tick_by_args items[] = {{1}, {10}, {100}};
    ledger_open(0);
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_map(pool, tick_by, items, 3, NULL), MP_OK));
    cr_assert(eq(int, tally->word[0], 111));
    mp_pool_free(&pool);
    ledger_close();
}

CHECK(function, neither_argument_nor_result__runs_n_times)
{
    ledger_open(0);
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_map(pool, tick, NULL, 1000, NULL), MP_OK));
    cr_assert(eq(int, tally->word[0], 1000));
    cr_assert(eq(int, mp_pool_apply(pool, tick, NULL, NULL), MP_OK));
    cr_assert(eq(int, tally->word[0], 1001));
    mp_pool_free(&pool);
    ledger_close();
}

static mp_status count_up(const mp_none *in, mp_none *out, mp_call *call)
{
    (void)in, (void)out, (void)call;
    tally->word[0]++;
    return MP_OK;
}
MP_TASK(count_up, mp_none, mp_none);

CHECK(function, arrays_of_none__may_be_there_too)
{
    mp_none items[3] = {{0}}, results[3] = {{0}};
    ledger_open(0);
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_map(pool, count_up, items, 3, results), MP_OK));
    cr_assert(eq(int, tally->word[0], 3));
    mp_pool_free(&pool);
    ledger_close();
}

/* ---- shapes of data ---- */

typedef struct numbers {
    int8_t i8;
    int16_t i16;
    int32_t i32;
    int64_t i64;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    long long ll;
    float f;
    double d;
    bool b;
    char c;
} numbers;
MP_TYPE(numbers, i8, i16, i32, i64, u8, u16, u32, u64, ll, f, d, b, c);

static mp_status same_numbers(const numbers *in, numbers *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(same_numbers, numbers, numbers);

CHECK(data, extreme_numbers__come_back_as_they_were)
{
    numbers items[4], results[4];
    memset(items, 0, sizeof items);
    items[1] = (numbers){INT8_MIN, INT16_MIN, INT32_MIN, INT64_MIN, 0, 0, 0, 0, INT64_MIN, -INFINITY, -1e308, false, -1};
    items[2] = (numbers){INT8_MAX,   INT16_MAX, INT32_MAX, INT64_MAX, UINT8_MAX, UINT16_MAX, UINT32_MAX,
                         UINT64_MAX, INT64_MAX, 1e-40f,    5e-324,    true,      'z'};
    items[3] = (numbers){-1, -129, -32769, -2147483649, 128, 256, 65536, 4294967296, -33, -0.0f, -0.0, true, '\n'};
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_map(pool, same_numbers, items, 4, results), MP_OK));
    for (int i = 0; i < 4; i++) {
        const numbers *a = &items[i], *b = &results[i];
        cr_assert(a->i8 == b->i8 && a->i16 == b->i16 && a->i32 == b->i32 && a->i64 == b->i64, "item %d", i);
        cr_assert(a->u8 == b->u8 && a->u16 == b->u16 && a->u32 == b->u32 && a->u64 == b->u64, "item %d", i);
        cr_assert(a->ll == b->ll && a->b == b->b && a->c == b->c, "item %d", i);
        cr_assert(zero(int, memcmp(&a->f, &b->f, sizeof a->f)), "item %d", i);
        cr_assert(zero(int, memcmp(&a->d, &b->d, sizeof a->d)), "item %d", i);
    }
    mp_pool_free(&pool);
}

typedef struct point {
    double x, y;
} point;
MP_TYPE(point, x, y);

typedef struct shape {
    mp_str name;
    char code[8];
    point centre;
    point box[2];
    int32_t digits[5];
    MP_SPAN(point) corners;
    MP_SPAN(double) weights;
    MP_SPAN(mp_str) labels;
    mp_bytes raw;
    int not_described;
} shape;
MP_TYPE(shape, name, code, (point, centre), (point, box), digits, (point, corners), weights, labels, raw);

typedef struct drawing {
    MP_SPAN(shape) shapes;
    shape first;
} drawing;
MP_TYPE(drawing, (shape, shapes), (shape, first));

/* The result points into the input and into memory of the call: both last until it has been sent. */
static mp_status double_drawing(const drawing *in, drawing *out, mp_call *call)
{
    *out = *in;
    out->shapes.items = mp_call_alloc(call, in->shapes.count * sizeof(shape));
    if (!out->shapes.items)
        return mp_fail(call, MP_ENOMEM, "no memory");
    for (size_t i = 0; i < in->shapes.count; i++) {
        const shape *from = &in->shapes.items[i];
        shape *to = &out->shapes.items[i];
        *to = *from;
        if (from->not_described != 0)
            return mp_fail(call, MP_EUSER, "a field that is not described has travelled");
        to->weights.items = mp_call_alloc(call, from->weights.count * sizeof(double));
        for (size_t k = 0; k < from->weights.count; k++)
            to->weights.items[k] = 2 * from->weights.items[k];
    }
    return MP_OK;
}
MP_TASK(double_drawing, drawing, drawing);

static bool same_str(mp_str a, mp_str b)
{
    return a.size == b.size && (a.size == 0 || !memcmp(a.data, b.data, a.size));
}

static bool same_shape(const shape *a, const shape *b, double factor)
{
    bool same = same_str(a->name, b->name) && !strncmp(a->code, b->code, sizeof a->code) &&
                !memcmp(&a->centre, &b->centre, sizeof a->centre) && !memcmp(a->box, b->box, sizeof a->box) &&
                !memcmp(a->digits, b->digits, sizeof a->digits) && a->corners.count == b->corners.count &&
                a->weights.count == b->weights.count && a->labels.count == b->labels.count && a->raw.size == b->raw.size &&
                (a->raw.size == 0 || !memcmp(a->raw.data, b->raw.data, a->raw.size));
    for (size_t i = 0; same && i < a->corners.count; i++)
        same = !memcmp(&a->corners.items[i], &b->corners.items[i], sizeof(point));
    for (size_t i = 0; same && i < a->weights.count; i++)
        same = a->weights.items[i] * factor == b->weights.items[i];
    for (size_t i = 0; same && i < a->labels.count; i++)
        same = same_str(a->labels.items[i], b->labels.items[i]);
    return same;
}

/* Owned by nobody: static storage, one per seed. */
static shape some_shape(size_t seed)
{
    static point corners[16];
    static double weights[600];
    static mp_str labels[3];
    for (size_t i = 0; i < 16; i++)
        corners[i] = (point){(double)i, -(double)i / 3};
    for (size_t i = 0; i < 600; i++)
        weights[i] = (double)i * 0.25;
    labels[0] = mp_str_of("");
    labels[1] = mp_str_of("ein Mühlteich");
    labels[2] = mp_str_of("水車池");
    shape made = {.name = mp_str_of(seed % 2 ? "mill" : "pond"), .centre = {1 + (double)seed, 2}, .not_described = 99};
    memcpy(made.code, "12345678", seed % 3 ? 4 : 8); /* eight: no room for a zero, and none needed */
    made.box[1] = (point){3, 4 + (double)seed};
    for (int i = 0; i < 5; i++)
        made.digits[i] = i - 2;
    made.corners = (mp_span_point){corners, seed % 17};
    made.weights = (mp_span_double){weights, 600 - seed % 7};
    made.labels = (mp_span_mp_str){labels, seed % 4};
    made.raw = (mp_bytes){weights, seed % 3 * 1000};
    return made;
}

CHECK(data, nested_types_and_spans__come_back_as_they_were)
{
    enum { N = 40 };
    static shape shapes[N];
    drawing items[N], results[N];
    for (size_t i = 0; i < N; i++)
        shapes[i] = some_shape(i);
    for (size_t i = 0; i < N; i++)
        items[i] = (drawing){.shapes = {shapes, i}, .first = some_shape(i + 3)};
    mp_error error;
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_map(pool, double_drawing, items, N, results, .error = &error), MP_OK), "%s", error.message);
    mp_pool_free(&pool);
    for (size_t i = 0; i < N; i++) {
        cr_assert(eq(sz, results[i].shapes.count, i));
        cr_assert(same_shape(&items[i].first, &results[i].first, 1), "item %zu", i);
        cr_assert(zero(int, results[i].first.not_described));
        for (size_t k = 0; k < i; k++)
            cr_assert(same_shape(&shapes[k], &results[i].shapes.items[k], 2), "item %zu, shape %zu", i, k);
    }
    mp_free(drawing, results, N);
    cr_assert(is_zero(results, sizeof results), "mp_free zeroes what it freed");
    mp_free(drawing, results, N);
}

static mp_status shout(const mp_str *in, mp_str *out, mp_call *call)
{
    char *text = mp_call_alloc(call, in->size + 1);
    if (in->data[in->size] != 0)
        return mp_fail(call, MP_EUSER, "no zero behind the text");
    for (size_t i = 0; i < in->size; i++)
        text[i] = in->data[i] == '\0' ? '\0' : (char)(in->data[i] ^ ' ');
    *out = (mp_str){text, in->size};
    return MP_OK;
}
MP_TASK(shout, mp_str, mp_str);

CHECK(data, strings__own_their_memory_after_the_pool_has_gone)
{
    mp_str items[] = {mp_str_of("quiet"), mp_str_of(""), mp_str_of(NULL), {"with\0zero", 9}, mp_str_of("x")}, results[5];
    mp_pool *pool = open_pool(2);
    mp_error error;
    cr_assert(eq(int, mp_pool_map(pool, shout, items, 5, results, .error = &error), MP_OK), "%s", error.message);
    mp_pool_free(&pool);
    cr_assert(eq(str, (char *)results[0].data, "QUIET"));
    cr_assert(zero(sz, results[1].size));
    cr_assert(zero(sz, results[2].size));
    cr_assert(eq(sz, results[3].size, 9));
    cr_assert(zero(int, memcmp(results[3].data, "WITH\0ZERO", 10)), "a zero within the text, and one behind it");
    mp_free(mp_str, results, 5);
}

/* An irregular value: [n, "text", {"k": [1.5]}] from n. */
static mp_status irregular(const int *in, mp_any *out, mp_call *call)
{
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    msgpack_pack_array(&packer, 3);
    msgpack_pack_int(&packer, *in);
    msgpack_pack_str_with_body(&packer, "text", 4);
    msgpack_pack_map(&packer, 1);
    msgpack_pack_str_with_body(&packer, "k", 1);
    msgpack_pack_array(&packer, 1);
    msgpack_pack_double(&packer, 1.5);
    void *bytes = mp_call_alloc(call, buffer.size);
    memcpy(bytes, buffer.data, buffer.size);
    *out = (mp_any){bytes, buffer.size};
    msgpack_sbuffer_destroy(&buffer);
    return MP_OK;
}
MP_TASK(irregular, int, mp_any);

static mp_status first_of_any(const mp_any *in, int64_t *out, mp_call *call)
{
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    size_t offset = 0;
    msgpack_unpack_return got = msgpack_unpack_next(&unpacked, in->data, in->size, &offset);
    bool good = got == MSGPACK_UNPACK_SUCCESS && unpacked.data.type == MSGPACK_OBJECT_ARRAY &&
                unpacked.data.via.array.size == 3 && offset == in->size;
    *out = good ? unpacked.data.via.array.ptr[0].via.i64 : 0;
    msgpack_unpacked_destroy(&unpacked);
    return good ? MP_OK : mp_fail(call, MP_EUSER, "not an array of three");
}
MP_TASK(first_of_any, mp_any, int64_t);

CHECK(data, any_value__travels_both_ways)
{
    int items[] = {1, -7, 100000};
    mp_any values[3];
    int64_t results[3];
    mp_error error;
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_map(pool, irregular, items, 3, values, .error = &error), MP_OK), "%s", error.message);
    cr_assert(eq(int, mp_pool_map(pool, first_of_any, values, 3, results, .error = &error), MP_OK), "%s", error.message);
    for (int i = 0; i < 3; i++)
        cr_assert(eq(i64, results[i], items[i]));
    mp_free(mp_any, values, 3);
    mp_pool_free(&pool);
}

static mp_status count_bools(const MP_SPAN(bool) * in, mp_span_int *out, mp_call *call)
{
    int *counts = mp_call_alloc(call, 2 * sizeof(int));
    counts[0] = counts[1] = 0;
    for (size_t i = 0; i < in->count; i++)
        counts[in->items[i]]++;
    *out = (mp_span_int){counts, 2};
    return MP_OK;
}
MP_TASK(count_bools, MP_SPAN(bool), MP_SPAN(int));

CHECK(data, spans_as_input_and_result__travel_as_they_are)
{
    bool bools[] = {true, false, true, true};
    mp_span_bool items[2] = {{bools, 4}, {NULL, 0}};
    mp_span_int results[2];
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_map(pool, count_bools, items, 2, results), MP_OK));
    cr_assert(eq(int, results[0].items[0], 1));
    cr_assert(eq(int, results[0].items[1], 3));
    cr_assert(zero(int, results[1].items[1]));
    mp_free(mp_span_int, results, 2);
    mp_pool_free(&pool);
}

static mp_status count_empty(const MP_SPAN(double) * in, MP_SPAN(double) * out, mp_call *call)
{
    (void)call;
    *out = (mp_span_double){NULL, 0};
    return in->count ? mp_fail(call, MP_EUSER, "not empty") : MP_OK;
}
MP_TASK(count_empty, MP_SPAN(double), MP_SPAN(double));

CHECK(data, empty_spans__come_back_empty)
{
    mp_span_double items[100] = {{0}}, results[100];
    spoil(results, sizeof results);
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_map(pool, count_empty, items, 100, results), MP_OK));
    for (int i = 0; i < 100; i++)
        cr_assert(zero(sz, results[i].count));
    mp_free(mp_span_double, results, 100);
    mp_pool_free(&pool);
}

/* ---- what a task may ask its call ---- */

typedef struct where {
    uint64_t item;
    int worker;
    int64_t pid;
} where;
MP_TYPE(where, item, worker, pid);

static mp_status tell_where(const mp_none *in, where *out, mp_call *call)
{
    (void)in;
    *out = (where){mp_call_item(call), mp_call_worker(call), getpid()};
    return MP_OK;
}
MP_TASK(tell_where, mp_none, where);

CHECK(call, item_and_worker__are_those_of_the_call)
{
    enum { N = 3000 };
    static where results[N];
    int64_t pids[4] = {0};
    mp_pool *pool = open_pool(4);
    for (ptrdiff_t chunksize = 0; chunksize < 8; chunksize++) {
        cr_assert(eq(int, mp_pool_map(pool, tell_where, NULL, N, results, .chunksize = chunksize), MP_OK));
        for (size_t i = 0; i < N; i++) {
            cr_assert(eq(u64, results[i].item, i));
            cr_assert(results[i].worker >= 0 && results[i].worker < 4);
            int64_t *pid = &pids[results[i].worker];
            cr_assert(results[i].pid != getpid());
            *pid = *pid ? *pid : results[i].pid;
            cr_assert(eq(i64, results[i].pid, *pid), "worker %d is one process", results[i].worker);
        }
    }
    mp_pool_free(&pool);
}

static mp_status use_memory(const uint32_t *in, uint32_t *out, mp_call *call)
{
    unsigned char *pieces[20];
    for (int i = 0; i < 20; i++) {
        pieces[i] = mp_call_alloc(call, *in * (size_t)i);
        if (!pieces[i] || (uintptr_t)pieces[i] % _Alignof(max_align_t))
            return mp_fail(call, MP_EUSER, "piece %d is at %p", i, (void *)pieces[i]);
        memset(pieces[i], i, *in * (size_t)i);
    }
    *out = 0;
    for (int i = 0; i < 20; i++)
        for (size_t k = 0; k < *in * (size_t)i; k++)
            *out += pieces[i][k] == i;
    return mp_call_alloc(call, SIZE_MAX) ? mp_fail(call, MP_EUSER, "SIZE_MAX bytes were given") : MP_OK;
}
MP_TASK(use_memory, uint32_t, uint32_t);

CHECK(call, memory__is_aligned_and_does_not_overlap)
{
    uint32_t items[] = {0, 1, 7, 64, 4095, 4096, 100000}, results[7];
    mp_error error;
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_map(pool, use_memory, items, 7, results, .error = &error), MP_OK), "%s", error.message);
    for (int i = 0; i < 7; i++)
        cr_assert(eq(u32, results[i], items[i] * 190));
    mp_pool_free(&pool);
}
