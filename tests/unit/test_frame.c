/* The writer of frames: headers, and what is as before when it fails. */
#include "tests/lib/check.h"
#include "tests/unit/values.h"

TestSuite(frame, .timeout = 60);

CHECK(frame, small_value__has_a_short_header)
{
    mp__buffer out = {0};
    mp__blobs blobs = {0};
    mp__fault fault;
    int32_t number = 300;
    cr_assert_eq(mp__frame_write(&out, 9, &mp__type_int32_t, &number, &blobs, &fault), MP_OK);
    cr_assert_eq(out.size, 7);
    cr_assert_arr_eq(out.data, "\x39\0\0\0\xcd\x01\x2c", 7);
    cr_assert_eq(blobs.count, 0);
    mp__buffer_fini(&out);
}

CHECK(frame, value_with_blobs__has_a_long_header_and_places)
{
    static char large[MP__BLOB_MIN + 7];
    mp_bytes two[2] = {{large, sizeof large}, {large, MP__BLOB_MIN}};
    mp_span_mp_bytes span = {two, 2};
    mp__buffer out = {0};
    mp__blobs blobs = {0};
    mp__fault fault;
    cr_assert_eq(mp__frame_write(&out, 5, &mp__type_mp_span_mp_bytes, &span, &blobs, &fault), MP_OK);
    cr_assert_eq(out.size, MP__FRAME_LONG + 21);
    cr_assert_eq(blobs.count, 2);
    cr_assert_eq(blobs.items[0].offset, 64);
    cr_assert_eq(blobs.items[1].offset, 64 + MP__BLOB_MIN + 64);
    uint64_t header[2] = {64 + MP__BLOB_MIN + 64 + MP__BLOB_MIN, 21};
    cr_assert_arr_eq(out.data, "\xf5\xff\xff\xff", 4);
    cr_assert_arr_eq(out.data + 4, header, sizeof header);
    cr_assert_arr_eq(out.data + 20, "\x92\xd7\x01\x07\x40\0\0\0\0\0\0\xd7\x01\0\x40\0\0\0\0\0\0", 21);
    mp__blobs_fini(&blobs);
    mp__buffer_fini(&out);
}

CHECK(frame, without_a_list_of_blobs__all_is_in_line)
{
    static char large[MP__BLOB_MIN];
    mp_bytes bytes = {large, sizeof large};
    mp__buffer out = {0};
    mp__fault fault;
    cr_assert_eq(mp__frame_write(&out, 5, &mp__type_mp_bytes, &bytes, NULL, &fault), MP_OK);
    cr_assert_eq(out.size, MP__FRAME_SHORT + 3 + MP__BLOB_MIN);
    mp__buffer_fini(&out);
}

CHECK(frame, failure__leaves_buffer_and_blobs_as_before)
{
    static char large[MP__BLOB_MIN];
    mp__buffer out = {0};
    mp__blobs blobs = {0};
    mp__fault fault;
    mp_str good = mp_str_of("good"), bad = {"\xff", 1};
    owner value = {.text = {large, sizeof large}, .any = {"\xc0", 1}, .last = bad};
    cr_assert_eq(mp__frame_write(&out, 1, &mp__type_mp_str, &good, &blobs, &fault), MP_OK);
    cr_assert_eq(mp__frame_write(&out, 1, &mp__type_mp_str, &bad, &blobs, &fault), MP_EENCODING);
    cr_assert_eq(fault.offset, 0);
    cr_assert_eq(mp__frame_write(&out, 1, &mp__type_owner, &value, &blobs, &fault), MP_EENCODING);
    cr_assert_eq(out.size, 9);
    cr_assert_eq(blobs.count, 0);
    mp__blobs_fini(&blobs);
    mp__buffer_fini(&out);
}

CHECK(frame, payload__just_over_what_a_value_may_have__is_refused)
{
    mp_bytes bytes = {"x", MP_ITEM_SIZE_MAX - 63}; /* one less would fit behind the control part; only referred to */
    mp__buffer out = {0};
    mp__blobs blobs = {0};
    mp__fault fault;
    cr_assert_eq(mp__frame_write(&out, 1, &mp__type_mp_bytes, &bytes, &blobs, &fault), MP_ELIMIT);
    cr_assert(out.size == 0 && blobs.count == 0);
    bytes.size--;
    cr_assert_eq(mp__frame_write(&out, 1, &mp__type_mp_bytes, &bytes, &blobs, &fault), MP_OK);
    cr_assert_eq(blobs.count, 1);
    mp__blobs_fini(&blobs);
    mp__buffer_fini(&out);
}

CHECK(frame, fixed_buffer__takes_exactly_what_fits)
{
    static char large[MP__BLOB_MIN];
    int64_t number = -5000;
    mp_bytes bytes = {large, sizeof large};
    for (size_t capacity = 0; capacity <= 40; capacity++) {
        uint8_t *memory = malloc(capacity ? capacity : 1);
        mp__buffer fixed = {.data = memory, .capacity = capacity, .fixed = true};
        mp__blobs blobs = {0};
        mp__fault fault;
        mp_status small = mp__frame_write(&fixed, 1, &mp__type_int64_t, &number, &blobs, &fault);
        cr_assert_eq(small, capacity >= 7 ? MP_OK : MP_ENOMEM, "%zu", capacity);
        cr_assert_eq(fixed.size, small == MP_OK ? 7 : 0);
        size_t before = fixed.size;
        mp_status long_one = mp__frame_write(&fixed, 1, &mp__type_mp_bytes, &bytes, &blobs, &fault);
        cr_assert_eq(long_one, capacity >= before + 30 ? MP_OK : MP_ENOMEM, "%zu", capacity);
        cr_assert_eq(fixed.size, before + (long_one == MP_OK ? 30 : 0));
        cr_assert_eq(blobs.count, long_one == MP_OK);
        mp__blobs_fini(&blobs);
        mp__buffer_fini(&fixed);
        free(memory);
    }
}

CHECK(frame, raw__writes_the_very_bytes)
{
    uint8_t memory[8];
    mp__buffer out = {0}, fixed = {.data = memory, .capacity = 8, .fixed = true};
    cr_assert(mp__frame_write_raw(&out, 15, "abc", 3));
    cr_assert(mp__frame_write_raw(&out, 0, NULL, 0));
    cr_assert_eq(out.size, 11);
    cr_assert_arr_eq(out.data,
                     "\x3f\0\0\0"
                     "abc"
                     "\0\0\0\0",
                     11);
    cr_assert(mp__frame_write_raw(&fixed, 1, "abcd", 4));
    cr_assert_not(mp__frame_write_raw(&fixed, 1, NULL, 0));
    cr_assert_eq(fixed.size, 8);
    mp__buffer_fini(&out);
}

/* The control part itself is too long for 28 bits: the long header, without blobs. */
CHECK(frame, control_part_of_256_mib__has_a_long_header)
{
    size_t size = (size_t)MP__SIZE_IS_LONG - 5;
    char *data = calloc(1, size + 1);
    mp__buffer out = {0};
    mp__fault fault;
    uint64_t header[2] = {MP__SIZE_IS_LONG, MP__SIZE_IS_LONG};
    mp_bytes bytes = {data, size};
    cr_assert_not_null(data);
    cr_assert_eq(mp__frame_write(&out, 1, &mp__type_mp_bytes, &bytes, NULL, &fault), MP_OK);
    cr_assert_eq(out.size, MP__FRAME_LONG + 5 + size);
    cr_assert_arr_eq(out.data, "\xf1\xff\xff\xff", 4);
    cr_assert_arr_eq(out.data + 4, header, sizeof header);
    cr_assert_arr_eq(out.data + 20, "\xc6\x0f\xff\xff\xfa", 5);
    out.size = 0;
    bytes.size--;
    cr_assert_eq(mp__frame_write(&out, 1, &mp__type_mp_bytes, &bytes, NULL, &fault), MP_OK);
    cr_assert_eq(out.size, MP__FRAME_SHORT + 5 + bytes.size);
    out.size = 0;
    cr_assert(mp__frame_write_raw(&out, 1, data, MP__SIZE_IS_LONG - 4));
    cr_assert_eq(out.size, MP__FRAME_SHORT + MP__SIZE_IS_LONG - 4);
    mp__buffer_fini(&out);
    free(data);
}
