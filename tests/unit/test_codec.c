/* The codec as a whole: what goes in comes out, for random values of every type, against msgpack-c, and when memory fails. */
#include "tests/lib/check.h"
#include "tests/unit/values.h"

TestSuite(codec, .timeout = 60);

enum { VALUES = 200 };

/* A frame of the value, with its blobs, in `stream`. */
static mp_status write_frame(mp__buffer *stream, const mp_type *type, const void *value, mp__fault *fault)
{
    mp__blobs blobs = {0};
    size_t begin = stream->size;
    mp_status status = mp__frame_write(stream, 3, type, value, &blobs, fault);
    if (status == MP_OK && !append_blobs(stream, begin, &blobs))
        status = mp__fault_set(fault, MP_ENOMEM, 0, "not enough memory");
    mp__blobs_fini(&blobs);
    return status;
}

/* What came out of a frame, once as an input and once as a result; frees what it owns. */
static mp_status check_frame(const mp_type *type, const void *value, mp__frame *frame, mp__fault *fault, bool *same)
{
    any_value input, result;
    mp__buffer scratch = {0};
    memset(&input, 0x5a, sizeof input);
    memset(&result, 0x5a, sizeof result);
    mp_status status = mp__decode_input(type, frame, &input, &scratch, fault);
    *same = status == MP_OK && same_value(type, value, &input) && is_well_placed(type, &input);
    if (status == MP_OK)
        mp_free_values(type, &input, 1); /* borrowed: does no harm */
    mp__buffer_fini(&scratch);
    if (status == MP_OK)
        status = mp__decode_result(type, frame, &result, fault);
    *same = *same && status == MP_OK && same_value(type, value, &result) && is_well_placed(type, &result);
    if (status == MP_OK)
        mp_free_values(type, &result, 1);
    for (size_t i = 0; i < type->size; i++)
        *same = *same && ((uint8_t *)&result)[i] == 0;
    return status;
}

/* There and back. MP_OK, or why not; `same` says whether it was the same. */
static mp_status travel(const mp_type *type, const void *value, size_t piece, mp__fault *fault, bool *same)
{
    mp__buffer stream = {0};
    mp__frame_reader reader;
    mp__frame frame;
    size_t at = 0;
    mp__frame_reader_init(&reader, 1u << 3, 1 << 30);
    mp_status status = write_frame(&stream, type, value, fault);
    *same = false;
    if (status == MP_OK && feed(&reader, stream.data, stream.size, piece, &at, &frame))
        status = check_frame(type, value, &frame, fault, same);
    else if (status == MP_OK)
        status = mp__fault_set(fault, reader.status, 0, "the reader");
    *same = *same && at == stream.size;
    mp__frame_reader_fini(&reader);
    mp__buffer_fini(&stream);
    return status;
}

static void travel_many(size_t most, bool large, size_t values)
{
    static arena memory;
    chance c = {.state = 0x9e3779b97f4a7c15, .most = most, .large = large, .arena = &memory};
    for (size_t t = 0; t < ALL_TYPES; t++) {
        for (size_t i = 0; i < values; i++) {
            any_value value;
            mp__fault fault = {0};
            bool same;
            random_value(&c, all_types[t], &value);
            cr_assert_eq(travel(all_types[t], &value, 1 + below(&c, 30000), &fault, &same), MP_OK, "%s: %s: %s",
                         all_types[t]->name, fault.path, fault.message);
            cr_assert(same, "%s, value %zu", all_types[t]->name, i);
            arena_empty(&memory);
        }
    }
}

CHECK(codec, round_trip__small_values__are_the_same)
{
    travel_many(20, false, VALUES);
}

CHECK(codec, round_trip__values_around_the_length_of_a_blob__are_the_same)
{
    travel_many(60, true, 25);
}

CHECK(codec, types__all_of_the_tests__pass_the_check)
{
    for (size_t t = 0; t < ALL_TYPES; t++) {
        mp__fault fault;
        cr_assert_eq(mp__type_check(all_types[t], &fault), MP_OK, "%s", fault.message);
        cr_assert(all_types[t]->size <= sizeof(any_value));
    }
}

CHECK(codec, encode__any_value__is_byte_for_byte_what_msgpack_c_packs)
{
    static arena memory;
    chance c = {.state = 12345, .most = 70, .arena = &memory};
    for (size_t i = 0; i < ALL_TYPES * VALUES; i++) {
        const mp_type *type = all_types[i % ALL_TYPES];
        any_value value;
        mp__buffer ours = {0};
        mp__fault fault;
        msgpack_sbuffer theirs;
        msgpack_packer packer;
        msgpack_sbuffer_init(&theirs);
        msgpack_packer_init(&packer, &theirs, msgpack_sbuffer_write);
        random_value(&c, type, &value);
        pack_value(NULL, &packer, type, &value);
        cr_assert_eq(mp__encode(&ours, type, &value, NULL, &fault), MP_OK);
        cr_assert_eq(ours.size, theirs.size, "%s: %zu, %zu", type->name, ours.size, theirs.size);
        cr_assert_arr_eq(ours.data, theirs.data, theirs.size, "%s", type->name);
        msgpack_sbuffer_destroy(&theirs);
        mp__buffer_fini(&ours);
        arena_empty(&memory);
    }
}

CHECK(codec, encode__any_value__is_read_by_msgpack_c_as_the_same)
{
    static arena memory;
    chance c = {.state = 777, .most = 40, .arena = &memory};
    for (size_t i = 0; i < ALL_TYPES * VALUES; i++) {
        const mp_type *type = all_types[i % ALL_TYPES];
        any_value value;
        mp__buffer ours = {0};
        mp__fault fault;
        size_t length, offset = 0;
        random_value(&c, type, &value);
        cr_assert_eq(mp__encode(&ours, type, &value, NULL, &fault), MP_OK);
        cr_assert_eq(mp__scan(ours.data, ours.size, &length), MP_OK);
        cr_assert_eq(length, ours.size);
        msgpack_unpacked read;
        msgpack_unpacked_init(&read);
        cr_assert_eq(msgpack_unpack_next(&read, (char *)ours.data, ours.size, &offset), MSGPACK_UNPACK_SUCCESS);
        cr_assert_eq(offset, ours.size);
        cr_assert(object_is_value(&read.data, type, &value), "%s", type->name);
        msgpack_unpacked_destroy(&read);
        mp__buffer_fini(&ours);
        arena_empty(&memory);
    }
}

CHECK(codec, decode__what_msgpack_c_packs_in_other_forms__is_the_same)
{
    static arena memory;
    chance c = {.state = 4242, .most = 20, .arena = &memory};
    for (size_t i = 0; i < ALL_TYPES * VALUES; i++) {
        const mp_type *type = all_types[i % ALL_TYPES];
        any_value value;
        mp__fault fault;
        msgpack_sbuffer theirs;
        msgpack_packer packer;
        bool same;
        msgpack_sbuffer_init(&theirs);
        msgpack_packer_init(&packer, &theirs, msgpack_sbuffer_write);
        random_value(&c, type, &value);
        pack_value(&c, &packer, type, &value);
        mp__frame frame = frame_of(theirs.data, theirs.size);
        cr_assert_eq(check_frame(type, &value, &frame, &fault, &same), MP_OK, "%s: %s", type->name, fault.message);
        cr_assert(same, "%s", type->name);
        msgpack_sbuffer_destroy(&theirs);
        arena_empty(&memory);
    }
}

/* Each allocation on the way fails once. Nothing may leak: CHECK sees to that under a sanitizer. */
CHECK(codec, memory__the_nth_allocation_fails__says_so_and_leaks_nothing)
{
    static arena memory;
    chance c = {.state = 31, .most = 3, .large = true, .arena = &memory};
    size_t failures = 0;
    for (size_t t = 0; t < ALL_TYPES; t++) {
        any_value value;
        random_value(&c, all_types[t], &value);
        mp_status status = MP_ENOMEM;
        for (size_t n = 0; status != MP_OK; n++) {
            mp__fault fault = {0};
            bool same;
            fail_allocation(n);
            status = travel(all_types[t], &value, SIZE_MAX, &fault, &same);
            fail_no_allocation();
            cr_assert(status == MP_ENOMEM || (status == MP_OK && same), "%s: %s", all_types[t]->name, fault.message);
            failures += status == MP_ENOMEM;
        }
        arena_empty(&memory);
    }
    cr_assert_gt(failures, 100, "%zu", failures);
}

/* The example of FORMAT.md: the lines of hex between the two markers are what is encoded. */
typedef struct {
    mp_str name;
    char code[8];
    point centre;
    MP_SPAN(int16_t) steps;
    bool round;
} shape;
MP_TYPE(shape, name, code, (point, centre), steps, round);

static size_t example_bytes(uint8_t *bytes)
{
    char line[256], path[1024];
    const char *slash = strrchr(__FILE__, '/');
    (void)snprintf(path, sizeof path, "%.*s/../../serial/FORMAT.md", slash ? (int)(slash - __FILE__) : 1,
                   slash ? __FILE__ : ".");
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s (the test has to run in the build directory)", path);
    size_t size = 0;
    bool inside = false;
    while (fgets(line, sizeof line, file)) {
        inside = strncmp(line, "    ; frame", 11) == 0 || (inside && strncmp(line, "    ; end", 9) != 0);
        if (inside && line[4] != ';')
            size += from_hex(line, bytes + size);
    }
    (void)fclose(file);
    return size;
}

CHECK(codec, format_md__the_worked_example__is_what_is_written)
{
    uint8_t expected[512];
    int16_t steps[] = {1, -2};
    shape value = {mp_str_of("caf\xc3\xa9"), "K7", {0.5, -2}, {steps, 2}, true};
    mp__buffer stream = {0};
    mp__fault fault;
    size_t size = example_bytes(expected);
    cr_assert_eq(write_frame(&stream, &mp__type_shape, &value, &fault), MP_OK);
    cr_assert_eq(stream.size, size, "%zu, %zu", stream.size, size);
    cr_assert_arr_eq(stream.data, expected, size);
    mp__buffer_fini(&stream);
}
