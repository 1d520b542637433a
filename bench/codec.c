/* codec int64|double|struct|doubles|bytes: nanoseconds to encode and to decode a value, here and with msgpack-c.
 *
 * Each figure is the best of a few rounds of two milliseconds. Ours: the codec alone, without a frame's header; a result that owns
 * memory is freed within the time. msgpack-c: msgpack_pack_* into a msgpack_sbuffer that is cleared each time; msgpack_unpack_next
 * and reading the numbers out of its tree. The 1 MiB of bytes is copied by msgpack-c when it packs; ours refers to it, and decodes it
 * in the frame's block, as the pool does. */
#include "serial/codec.h"
#include "bench/measure.h"
#include <inttypes.h>
#include <millpond.h>
#include <msgpack.h>

typedef struct {
    int32_t id;
    int64_t stamp;
    double x, y;
} sample;
MP_TYPE(sample, id, stamp, x, y);

enum { DOUBLES = 100, LARGE = 1 << 20 };

static mp__buffer packed;
static mp__blobs blobs;
static mp__fault fault;
static msgpack_sbuffer theirs;
static msgpack_packer packer;
static uint64_t sum; /* what keeps the compiler from leaving the work out */
static const mp_type *type;
static const void *value;
static int64_t integer;
static double a_double, doubles[DOUBLES];
static sample record;
static mp_span_double span = {doubles, DOUBLES};
static char *large;
static mp_bytes bytes;

static void must(bool good)
{
    if (!good) {
        (void)fprintf(stderr, "codec: something failed\n");
        exit(1);
    }
}

static void ours_encode(void)
{
    packed.size = 0;
    blobs.count = 0;
    sum += (uint64_t)mp__encode(&packed, type, value, &blobs, &fault) + packed.size;
}

static void ours_decode(void)
{
    union {
        int64_t integer;
        sample record;
        mp_span_double span;
    } out;
    mp__frame frame = {.size = packed.size, .control = packed.size, .data = packed.data};
    sum += (uint64_t)mp__decode_result(type, &frame, &out, &fault) + (uint64_t)out.integer;
    if (type->kind == MP__SPAN_OF)
        mp_free_values(type, &out, 1);
}

/* The large one: a frame in a block, as the reader makes it. The block is made once, and put back each time. */
static void ours_decode_large(void)
{
    static mp__block *block;
    static size_t control;
    size_t begin = mp__blob_begin(packed.size);
    if (!block) {
        must((block = aligned_alloc(MP__BLOB_ALIGN, LARGE + 4096)) != NULL);
        control = packed.size;
        memcpy(mp__block_payload(block), packed.data, control);
        memcpy(mp__block_payload(block) + begin, large, LARGE);
    }
    mp__frame frame = {.size = begin + LARGE, .control = control, .data = mp__block_payload(block), .block = block};
    mp_bytes out;
    sum += (uint64_t)mp__decode_result(type, &frame, &out, &fault) + out.size;
}

static void pack_integer(void)
{
    msgpack_sbuffer_clear(&theirs);
    sum += (uint64_t)msgpack_pack_int64(&packer, integer);
}
static void pack_double(void)
{
    msgpack_sbuffer_clear(&theirs);
    sum += (uint64_t)msgpack_pack_double(&packer, a_double);
}
static void pack_sample(void)
{
    msgpack_sbuffer_clear(&theirs);
    (void)msgpack_pack_array(&packer, 4);
    (void)msgpack_pack_int32(&packer, record.id);
    (void)msgpack_pack_int64(&packer, record.stamp);
    (void)msgpack_pack_double(&packer, record.x);
    sum += (uint64_t)msgpack_pack_double(&packer, record.y);
}
static void pack_doubles(void)
{
    msgpack_sbuffer_clear(&theirs);
    (void)msgpack_pack_array(&packer, DOUBLES);
    for (int i = 0; i < DOUBLES; i++)
        sum += (uint64_t)msgpack_pack_double(&packer, doubles[i]);
}
static void pack_large(void)
{
    msgpack_sbuffer_clear(&theirs);
    sum += (uint64_t)msgpack_pack_bin_with_body(&packer, large, LARGE);
}

static uint64_t read_object(const msgpack_object *object)
{
    uint64_t total = 0;
    switch ((int)object->type) {
    case MSGPACK_OBJECT_ARRAY:
        for (uint32_t i = 0; i < object->via.array.size; i++)
            total += read_object(&object->via.array.ptr[i]);
        return total;
    case MSGPACK_OBJECT_FLOAT64: return (uint64_t)(int64_t)object->via.f64;
    case MSGPACK_OBJECT_BIN: return object->via.bin.size;
    default: return object->via.u64;
    }
}

static void unpack(void)
{
    msgpack_unpacked result;
    msgpack_unpacked_init(&result);
    size_t offset = 0;
    must(msgpack_unpack_next(&result, theirs.data, theirs.size, &offset) == MSGPACK_UNPACK_SUCCESS);
    sum += read_object(&result.data);
    msgpack_unpacked_destroy(&result);
}

enum { ROUNDS = 7 };

static double time_of(void (*call)(void))
{
    double best = 1e9, taken = 0;
    long calls = 64;
    for (; taken < 2e-3; calls *= 2) { /* as many calls as take two milliseconds */
        double begin = now();
        for (long i = 0; i < calls; i++)
            call();
        taken = now() - begin;
    }
    calls /= 2;
    for (int round = 0; round < ROUNDS; round++) {
        double begin = now();
        for (long i = 0; i < calls; i++)
            call();
        taken = now() - begin;
        best = taken < best ? taken : best;
    }
    return best / (double)calls * 1e9;
}

static const struct {
    const char *name;
    const mp_type *type;
    const void *value;
    void (*decode)(void), (*pack)(void);
} cases[] = {
    {"int64", &mp__type_int64_t, &integer, ours_decode, pack_integer},
    {"double", &mp__type_double, &a_double, ours_decode, pack_double},
    {"struct", &mp__type_sample, &record, ours_decode, pack_sample},
    {"doubles", &mp__type_mp_span_double, &span, ours_decode, pack_doubles},
    {"bytes", &mp__type_mp_bytes, &bytes, ours_decode_large, pack_large},
};

static void prepare(void)
{
    msgpack_sbuffer_init(&theirs);
    msgpack_packer_init(&packer, &theirs, msgpack_sbuffer_write);
    must((large = calloc(1, LARGE)) != NULL);
    memset(large, 'x', LARGE);
    bytes = (mp_bytes){large, LARGE};
    integer = 123456789;
    a_double = 3.25;
    record = (sample){17, 1234567890123, 0.5, -0.25};
    for (int i = 0; i < DOUBLES; i++)
        doubles[i] = i * 0.5;
}

int main(int argc, char **argv)
{
    const char *wanted = word(argc, argv, 1, "int64");
    prepare();
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        if (strcmp(cases[k].name, wanted) != 0)
            continue;
        type = cases[k].type;
        value = cases[k].value;
        cases[k].pack();
        ours_encode();
        report("encode", time_of(ours_encode), "ns");
        report("pack", time_of(cases[k].pack), "ns");
        report("decode", time_of(cases[k].decode), "ns");
        report("unpack", time_of(unpack), "ns");
    }
    mp__buffer_fini(&packed);
    mp__blobs_fini(&blobs);
    msgpack_sbuffer_destroy(&theirs);
    free(large);
    return sum == 0;
}
