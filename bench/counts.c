/* counts WHAT OF N: what bench/instructions.py lets valgrind count the instructions of.
 *
 *     counts encode|decode int64|struct|doubles N      N times over the codec
 *     counts map processes|threads N                   N items of a no-op map, chunk size 1
 *
 * Twice with different N: the difference is what N items cost. */
#include "bench/pool.h"
#include "serial/codec.h"

enum { DOUBLES = 100 };

typedef struct {
    int32_t id;
    int64_t stamp;
    double x, y;
} sample;
MP_TYPE(sample, id, stamp, x, y);

static mp__buffer packed;
static mp__blobs blobs;
static mp__fault fault;

static void encode(const mp_type *type, const void *value)
{
    packed.size = 0;
    blobs.count = 0;
    if (mp__encode(&packed, type, value, &blobs, &fault) != MP_OK)
        give_up("encode");
}

static void decode(const mp_type *type)
{
    union {
        int64_t integer;
        sample record;
        mp_span_double span;
    } out;
    mp__frame frame = {.size = packed.size, .control = packed.size, .data = packed.data};
    if (mp__decode_result(type, &frame, &out, &fault) != MP_OK)
        give_up("decode");
    if (type->kind == MP__SPAN_OF)
        mp_free_values(type, &out, 1);
}

static void codec(bool encodes, const char *what, long n)
{
    double numbers[DOUBLES] = {0.5};
    int64_t integer = 123456789;
    sample record = {17, 1234567890123, 0.5, -0.25};
    mp_span_double span = {numbers, DOUBLES};
    const mp_type *type = strcmp(what, "int64") == 0    ? &mp__type_int64_t
                          : strcmp(what, "struct") == 0 ? &mp__type_sample
                                                        : &mp__type_mp_span_double;
    const void *value = strcmp(what, "int64") == 0    ? (const void *)&integer
                        : strcmp(what, "struct") == 0 ? (const void *)&record
                                                      : &span;
    encode(type, value);
    for (long i = 0; i < n; i++)
        encodes ? encode(type, value) : decode(type);
    mp__buffer_fini(&packed);
    mp__blobs_fini(&blobs);
}

static void map(mp_kind kind, size_t n)
{
    int64_t *in = integers(n), *out = memory(n, sizeof *out);
    mp_pool *pool;
    mp_error error;
    /* a spin would count how long somebody waits */
    must(mp_pool_open(&pool, .processes = 1, .kind = kind, SPIN(MP_NO_SPIN).error = &error), &error);
    must(mp_pool_map(pool, nothing, in, n, out, .chunksize = 1, .error = &error), &error);
    must_equal(in, out, n);
    (void)mp_pool_close(pool);
    (void)mp_pool_join(pool); /* workers leave by themselves: one that is killed tells valgrind nothing */
    mp_pool_free(&pool);
    free(in);
    free(out);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    long n = strtol(argv[3], NULL, 10);
    if (strcmp(argv[1], "map") == 0)
        map(strcmp(argv[2], "threads") == 0 ? MP_THREADS : MP_PROCESSES, (size_t)n);
    else
        codec(strcmp(argv[1], "encode") == 0, argv[2], n);
}
