/* How long it takes to encode and decode a value, here and with msgpack-c, in nanoseconds, in one run.
 *
 *     codec [ROUNDS]
 *
 * Each figure is the best of ROUNDS (default 7) rounds of a few milliseconds. Ours: the codec alone, without a frame's
 * header; a result that owns memory is freed within the time. msgpack-c: msgpack_pack_* into a msgpack_sbuffer that is
 * cleared each time; msgpack_unpack_next and reading the numbers out of its tree. The 1 MiB is copied by msgpack-c when it
 * packs; ours refers to it, and decodes it in the frame's block, as the pool does. */
#include "serial/codec.h"
#include <inttypes.h>
#include <millpond.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
static double number, doubles[DOUBLES];
static sample record;
static mp_span_double span = {doubles, DOUBLES};
static char *large;
static mp_bytes bytes;

static int64_t now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

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
    sum += (uint64_t)msgpack_pack_double(&packer, number);
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

static double time_of(void (*call)(void), int rounds)
{
    int64_t best = INT64_MAX, calls = 64, taken = 0;
    for (; taken < 2000000; calls *= 2) { /* as many calls as take two milliseconds */
        int64_t begin = now();
        for (int64_t i = 0; i < calls; i++)
            call();
        taken = now() - begin;
    }
    calls /= 2;
    for (int round = 0; round < rounds; round++) {
        int64_t begin = now();
        for (int64_t i = 0; i < calls; i++)
            call();
        taken = now() - begin;
        best = taken < best ? taken : best;
    }
    return (double)best / (double)calls;
}

static void report(const char *name, const mp_type *of, const void *at, void (*decode)(void), void (*pack)(void),
                   int rounds)
{
    type = of;
    value = at;
    pack();
    ours_encode();
    double encode_ns = time_of(ours_encode, rounds), decode_ns = time_of(decode, rounds);
    double pack_ns = time_of(pack, rounds), unpack_ns = time_of(unpack, rounds);
    (void)printf("%-16s %10.1f %10.1f %10.1f %10.1f %9.1fx %9.1fx\n", name, encode_ns, pack_ns, decode_ns, unpack_ns,
                 pack_ns / encode_ns, unpack_ns / decode_ns);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 7;
    msgpack_sbuffer_init(&theirs);
    msgpack_packer_init(&packer, &theirs, msgpack_sbuffer_write);
    must((large = calloc(1, LARGE)) != NULL);
    memset(large, 'x', LARGE);
    bytes = (mp_bytes){large, LARGE};
    integer = 123456789;
    number = 3.25;
    record = (sample){17, 1234567890123, 0.5, -0.25};
    for (int i = 0; i < DOUBLES; i++)
        doubles[i] = i * 0.5;
    (void)printf("%-16s %10s %10s %10s %10s %10s %10s\n", "ns", "encode", "msgpack-c", "decode", "msgpack-c", "", "");
    report("int64", &mp__type_int64_t, &integer, ours_decode, pack_integer, rounds);
    report("double", &mp__type_double, &number, ours_decode, pack_double, rounds);
    report("4-field struct", &mp__type_sample, &record, ours_decode, pack_sample, rounds);
    report("100 doubles", &mp__type_mp_span_double, &span, ours_decode, pack_doubles, rounds);
    report("1 MiB bytes", &mp__type_mp_bytes, &bytes, ours_decode_large, pack_large, rounds);
    mp__buffer_fini(&packed);
    mp__blobs_fini(&blobs);
    msgpack_sbuffer_destroy(&theirs);
    return sum == 0;
}
