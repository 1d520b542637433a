/* Payloads of every size arrive whole, in both directions, alone and in crowds. */
#include "tests/lib/check.h"
#include "tests/lib/ledger.h"
#include "tests/lib/rounds.h"
#include "tests/lib/says.h"
#include <millpond.h>

TestSuite(payload, .timeout = 120);

enum { KIB = 1024, MIB = 1024 * KIB };

/* Bytes that differ from those of every other seed and place. */
static void fill(unsigned char *bytes, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)((i * 0x9e3779b97f4a7c15u + seed * 0xbf58476d1ce4e5b9u) >> 56);
}

/* The first byte that is wrong, or `size`. */
static size_t first_unlike(const unsigned char *bytes, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != (unsigned char)((i * 0x9e3779b97f4a7c15u + seed * 0xbf58476d1ce4e5b9u) >> 56))
            return i;
    return size;
}

static mp_status echo(const mp_bytes *in, mp_bytes *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(echo, mp_bytes, mp_bytes);

typedef struct order {
    uint64_t size, seed;
} order;
MP_TYPE(order, size, seed);

static mp_status produce(const order *in, mp_bytes *out, mp_call *call)
{
    unsigned char *bytes = mp_call_alloc(call, in->size);
    if (!bytes)
        return mp_fail(call, MP_ENOMEM, "no memory");
    fill(bytes, in->size, in->seed);
    *out = (mp_bytes){bytes, in->size};
    return MP_OK;
}
MP_TASK(produce, order, mp_bytes);

typedef struct parcel {
    uint64_t seed;
    mp_bytes content;
    mp_str label;
} parcel;
MP_TYPE(parcel, seed, content, label);

static mp_status inspect(const parcel *in, uint64_t *out, mp_call *call)
{
    *out = first_unlike(in->content.data, in->content.size, in->seed);
    return in->label.size == 5 ? MP_OK : mp_fail(call, MP_EUSER, "the label behind the content is wrong");
}
MP_TASK(inspect, parcel, uint64_t);

static mp_pool *open_pool(int processes)
{
    mp_pool *pool;
    mp_error error;
    cr_assert(eq(int, mp_pool_open(&pool, .processes = processes, .error = &error), MP_OK), "%s", error.message);
    return pool;
}

/* n items of `size` bytes and more: item i has i bytes more, so that none is in another's place unnoticed. */
static void expect_echo(size_t size, size_t n, int processes)
{
    mp_error error;
    mp_bytes *items = calloc(n, sizeof *items), *results = calloc(n, sizeof *results);
    mp_pool *pool = open_pool(processes);
    for (size_t i = 0; i < n; i++) {
        unsigned char *bytes = malloc(size + i + 1);
        fill(bytes, size + i, i);
        items[i] = (mp_bytes){bytes, size + i};
    }
    mp_status status = mp_pool_map(pool, echo, items, n, results, .error = &error);
    cr_assert(eq(int, status, MP_OK), "%s", error.message);
    for (size_t i = 0; i < n; i++) {
        cr_assert(eq(sz, results[i].size, size + i));
        cr_assert(eq(sz, first_unlike(results[i].data, size + i, i), size + i), "item %zu", i);
        free((void *)items[i].data);
    }
    mp_free(mp_bytes, results, n);
    mp_pool_free(&pool);
    free(items);
    free(results);
}

CHECK(payload, no_bytes__come_back)
{
    expect_echo(0, 1, 1);
}
CHECK(payload, one_byte__comes_back)
{
    expect_echo(1, 1, 1);
}
CHECK(payload, one_less_than_64_kib__comes_back)
{
    expect_echo(64 * KIB - 1, 1, 1);
}
CHECK(payload, exactly_64_kib__comes_back)
{
    expect_echo(64 * KIB, 1, 1);
}
CHECK(payload, one_more_than_64_kib__comes_back)
{
    expect_echo(64 * KIB + 1, 1, 1);
}
CHECK(payload, eight_mib__comes_back)
{
    expect_echo(8 * MIB, 1, 1);
}
CHECK(payload, sixty_four_mib__comes_back)
{
    expect_echo(64 * MIB, 1, 1);
}
CHECK(payload, many_of_0_to_4000_bytes__come_back)
{
    expect_echo(0, 4000, 3);
}
/* Around what fits a pipe, a shared buffer, a credit: all the edges that there may be. */
CHECK(payload, many_around_64_kib__come_back)
{
    expect_echo(64 * KIB - 40, 80, 3);
}
CHECK(payload, many_around_256_kib__come_back)
{
    expect_echo(256 * KIB - 40, 80, 2);
}
CHECK(payload, many_around_one_mib__come_back)
{
    expect_echo(MIB - 10, 20, 2);
}
CHECK(payload, many_of_8_mib_through_two_workers__come_back)
{
    expect_echo(8 * MIB, 12, 2);
}
CHECK(payload, more_workers_than_items_of_8_mib__come_back)
{
    expect_echo(8 * MIB, 3, 5);
}

CHECK(payload, every_size_around_the_powers_of_two__comes_back)
{
    enum { N = 3 * 19 };
    mp_bytes items[N], results[N];
    unsigned char *bytes = malloc(MIB);
    mp_error error;
    fill(bytes, MIB, 5);
    for (size_t i = 0; i < N; i++)
        items[i] = (mp_bytes){bytes, ((size_t)1 << i / 3) + i % 3 - 1};
    mp_pool *pool = open_pool(2);
    for (ptrdiff_t chunksize = 0; chunksize < 3; chunksize++) {
        mp_status status = mp_pool_map(pool, echo, items, N, results, .chunksize = chunksize, .error = &error);
        cr_assert(eq(int, status, MP_OK), "%s", error.message);
        for (size_t i = 0; i < N; i++) {
            cr_assert(eq(sz, results[i].size, items[i].size));
            cr_assert(eq(sz, first_unlike(results[i].data, results[i].size, 5), items[i].size), "item %zu", i);
        }
        mp_free(mp_bytes, results, N);
    }
    mp_pool_free(&pool);
    free(bytes);
}

/* ---- one direction ---- */

CHECK(payload, large_results_of_small_items__arrive)
{
    order items[] = {{0, 1}, {1, 2}, {64 * KIB, 3}, {8 * MIB, 4}, {5, 5}, {8 * MIB + 3, 6}, {64 * MIB, 7}, {2, 8}};
    mp_bytes results[8];
    mp_error error;
    mp_pool *pool = open_pool(2);
    mp_status status = mp_pool_map(pool, produce, items, 8, results, .chunksize = 4, .error = &error);
    cr_assert(eq(int, status, MP_OK), "%s", error.message);
    for (size_t i = 0; i < 8; i++) {
        cr_assert(eq(sz, results[i].size, items[i].size));
        cr_assert(eq(sz, first_unlike(results[i].data, results[i].size, items[i].seed), items[i].size), "item %zu", i);
    }
    mp_free(mp_bytes, results, 8);
    mp_pool_free(&pool);
}

CHECK(payload, small_results_of_large_items__arrive)
{
    size_t sizes[] = {0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 8 * MIB, 3, 64 * MIB};
    parcel items[8];
    uint64_t results[8];
    mp_error error;
    for (size_t i = 0; i < 8; i++) {
        unsigned char *bytes = malloc(sizes[i] + 1);
        fill(bytes, sizes[i], i);
        items[i] = (parcel){i, {bytes, sizes[i]}, mp_str_of("label")};
    }
    mp_pool *pool = open_pool(2);
    mp_status status = mp_pool_map(pool, inspect, items, 8, results, .error = &error);
    cr_assert(eq(int, status, MP_OK), "%s", error.message);
    for (size_t i = 0; i < 8; i++) {
        cr_assert(eq(u64, results[i], sizes[i]));
        free((void *)items[i].content.data);
    }
    mp_pool_free(&pool);
}

/* Ten thousand items of 10 KiB: 100 MB through two workers, while what is on its way stays small. */
CHECK(payload, many_middling_items__arrive)
{
    size_t n = ROUNDS(10000);
    order *items = calloc(n, sizeof *items);
    mp_bytes *results = calloc(n, sizeof *results);
    for (size_t i = 0; i < n; i++)
        items[i] = (order){10 * KIB, i};
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_map(pool, produce, items, n, results), MP_OK));
    for (size_t i = 0; i < n; i++)
        cr_assert(eq(sz, first_unlike(results[i].data, results[i].size, i), 10 * KIB), "item %zu", i);
    mp_free(mp_bytes, results, n);
    mp_pool_free(&pool);
    free(items);
    free(results);
}

/* ---- numeric spans ---- */

static mp_status negate(const MP_SPAN(double) * in, MP_SPAN(double) * out, mp_call *call)
{
    if ((uintptr_t)in->items % 64)
        return mp_fail(call, MP_EUSER, "the input lies at %p, which is not a multiple of 64", (void *)in->items);
    double *numbers = mp_call_alloc(call, in->count * sizeof(double));
    for (size_t i = 0; i < in->count; i++)
        numbers[i] = -in->items[i];
    *out = (mp_span_double){numbers, in->count};
    return MP_OK;
}
MP_TASK(negate, MP_SPAN(double), MP_SPAN(double));

CHECK(payload, span_of_doubles_of_one_mib__is_aligned_to_64_bytes)
{
    enum { N = 6, COUNT = MIB / sizeof(double) };
    mp_span_double items[N], results[N];
    mp_error error;
    for (size_t i = 0; i < N; i++) {
        items[i] = (mp_span_double){malloc(COUNT * sizeof(double)), COUNT - i};
        for (size_t k = 0; k < COUNT; k++)
            items[i].items[k] = (double)k + (double)i / 8;
    }
    mp_pool *pool = open_pool(2);
    cr_assert(eq(int, mp_pool_map(pool, negate, items, N, results, .error = &error), MP_OK), "%s", error.message);
    for (size_t i = 0; i < N; i++) {
        cr_assert(eq(sz, results[i].count, COUNT - i));
        cr_assert(zero(sz, (uintptr_t)results[i].items % 64));
        for (size_t k = 0; k < results[i].count; k++)
            if (results[i].items[k] != -items[i].items[k])
                cr_fatal("item %zu, number %zu", i, k);
        free(items[i].items);
    }
    mp_free(mp_span_double, results, N);
    mp_pool_free(&pool);
}

typedef struct several {
    MP_SPAN(double) a;
    mp_bytes b;
    MP_SPAN(int) c;
    mp_str d;
} several;
MP_TYPE(several, a, b, c, d);

static mp_status same_several(const several *in, several *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(same_several, several, several);

CHECK(payload, several_large_fields_in_one_item__each_arrives)
{
    enum { SIZE = 3 * MIB };
    unsigned char *bytes = malloc(SIZE), *text = malloc(SIZE);
    several item, result;
    mp_error error;
    fill(bytes, SIZE, 9);
    memset(text, 'x', SIZE);
    item = (several){.a = {(double *)bytes, SIZE / sizeof(double) - 5},
                     .b = {bytes + 1, SIZE - 1},
                     .c = {(int *)bytes, 100000},
                     .d = {(char *)text, SIZE - 7}};
    mp_pool *pool = open_pool(1);
    cr_assert(eq(int, mp_pool_apply(pool, same_several, &item, &result, .error = &error), MP_OK), "%s", error.message);
    cr_assert(eq(sz, result.a.count, item.a.count));
    cr_assert(zero(int, memcmp(result.a.items, bytes, item.a.count * sizeof(double))));
    cr_assert(eq(sz, result.b.size, item.b.size));
    cr_assert(zero(int, memcmp(result.b.data, bytes + 1, SIZE - 1)));
    cr_assert(eq(sz, result.c.count, item.c.count));
    cr_assert(zero(int, memcmp(result.c.items, bytes, 400000)));
    cr_assert(eq(sz, result.d.size, item.d.size));
    cr_assert(zero(int, memcmp(result.d.data, text, SIZE - 7)));
    mp_free(several, &result, 1);
    mp_pool_free(&pool);
    free(bytes);
    free(text);
}
