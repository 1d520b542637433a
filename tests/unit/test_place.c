/* Where decoded data lies: blobs without a copy, small data beside them, and what a blob's reference may not say. */
#include "tests/lib/check.h"
#include "tests/unit/values.h"

TestSuite(place, .timeout = 60);

enum { KIND = 2 };

/* A stream with one frame, and a reader that has read it. */
typedef struct carrier {
    mp__buffer stream;
    mp__frame_reader reader;
    mp__frame frame;
} carrier;

static void carry(carrier *c, const mp_type *type, const void *value)
{
    mp__blobs blobs = {0};
    mp__fault fault;
    size_t at = 0;
    *c = (carrier){0};
    cr_assert_eq(mp__frame_write(&c->stream, KIND, type, value, &blobs, &fault), MP_OK);
    cr_assert(append_blobs(&c->stream, 0, &blobs));
    mp__blobs_fini(&blobs);
    mp__frame_reader_init(&c->reader, 1u << KIND, 1 << 30);
    cr_assert(feed(&c->reader, c->stream.data, c->stream.size, 5000, &at, &c->frame));
}

static void drop(carrier *c)
{
    mp__frame_reader_fini(&c->reader);
    mp__buffer_fini(&c->stream);
}

static char large[MP__BLOB_MIN + 1000];

static bool lies_in_frame(const carrier *c, const void *data)
{
    return (const uint8_t *)data >= c->frame.data && (const uint8_t *)data < c->frame.data + c->frame.size;
}

CHECK(place, blob__of_a_result__is_not_copied_and_outlives_the_reader)
{
    memset(large, 'a', sizeof large);
    mp_bytes bytes = {large, sizeof large}, result;
    mp__fault fault;
    carrier c;
    carry(&c, &mp__type_mp_bytes, &bytes);
    fail_allocation(0); /* none is needed */
    mp_status status = mp__decode_result(&mp__type_mp_bytes, &c.frame, &result, &fault);
    fail_no_allocation();
    cr_assert_eq(status, MP_OK);
    cr_assert(lies_in_frame(&c, result.data));
    cr_assert_null(c.frame.block);
    cr_assert_null(c.reader.block);
    drop(&c);
    cr_assert_eq(result.size, sizeof large);
    cr_assert_eq((uintptr_t)result.data % 64, 0);
    cr_assert_arr_eq(result.data, large, sizeof large);
    cr_assert_eq(((const char *)result.data)[result.size], 0);
    mp_free(mp_bytes, &result, 1);
}

CHECK(place, blob__of_an_input__stays_with_the_reader)
{
    memset(large, 'b', sizeof large);
    mp_str text = {large, sizeof large}, input;
    mp__buffer scratch = {0};
    mp__fault fault;
    carrier c;
    carry(&c, &mp__type_mp_str, &text);
    cr_assert_eq(mp__decode_input(&mp__type_mp_str, &c.frame, &input, &scratch, &fault), MP_OK);
    cr_assert(lies_in_frame(&c, input.data));
    cr_assert_not_null(c.reader.block);
    cr_assert_eq(strlen(input.data), sizeof large);
    mp_free(mp_str, &input, 1); /* borrowed: nothing happens */
    mp__buffer_fini(&scratch);
    drop(&c);
}

CHECK(place, blobs_and_small_data__in_one_struct__are_freed_by_one_call)
{
    memset(large, 'c', sizeof large);
    uint8_t array[3 + MP__BLOB_MIN] = {0xdc, MP__BLOB_MIN >> 8, MP__BLOB_MIN & 0xff};
    owner value = {{large, sizeof large}, {"small", 5}, {array, sizeof array}, {1, 2}, mp_str_of("last")}, result;
    mp__fault fault;
    carrier c;
    carry(&c, &mp__type_owner, &value);
    cr_assert_eq(mp__decode_result(&mp__type_owner, &c.frame, &result, &fault), MP_OK);
    cr_assert(lies_in_frame(&c, result.text.data) && lies_in_frame(&c, result.any.data));
    cr_assert_not(lies_in_frame(&c, result.bytes.data) || lies_in_frame(&c, result.last.data));
    drop(&c);
    cr_assert(same_value(&mp__type_owner, &value, &result));
    cr_assert(is_well_placed(&mp__type_owner, &result));
    cr_assert_eq((uintptr_t)result.any.data % 64, 0);
    mp_free(owner, &result, 1);
    cr_assert_null(result.text.data);
}

CHECK(place, blobs__of_every_remainder__begin_at_64_behind_a_gap)
{
    for (size_t more = 0; more < 130; more++) {
        memset(large, 'd', sizeof large);
        mp_str texts[3] = {{large, MP__BLOB_MIN + more}, {"ab", 2}, {large, MP__BLOB_MIN + 2 * more}};
        mp_span_mp_str span = {texts, 3}, result;
        mp__fault fault;
        carrier c;
        carry(&c, &mp__type_mp_span_mp_str, &span);
        cr_assert_eq(mp__decode_result(&mp__type_mp_span_mp_str, &c.frame, &result, &fault), MP_OK);
        cr_assert(same_value(&mp__type_mp_span_mp_str, &span, &result) &&
                  is_well_placed(&mp__type_mp_span_mp_str, &result));
        cr_assert_eq(((uintptr_t)result.items[0].data | (uintptr_t)result.items[2].data) % 64, 0);
        mp_free(mp_span_mp_str, &result, 1);
        drop(&c);
    }
}

CHECK(place, blob__of_a_frame_without_a_block__is_copied)
{
    uint8_t payload[64 + 24] = {0xd7, 1, 24};
    double three[3] = {1, 2, 3};
    mp_span_double result;
    mp__fault fault;
    memcpy(payload + 64, three, sizeof three);
    mp__frame frame = {.size = sizeof payload, .control = 10, .data = payload};
    cr_assert_eq(mp__decode_result(&mp__type_mp_span_double, &frame, &result, &fault), MP_OK);
    cr_assert(result.count == 3 && (uint8_t *)result.items != payload + 64);
    cr_assert_arr_eq(result.items, three, sizeof three);
    mp_free(mp_span_double, &result, 1);
}

CHECK(place, failure__after_a_blob__leaves_the_block_to_the_reader)
{
    memset(large, 'e', sizeof large);
    large[sizeof large - 1] = (char)0xff;
    mp_bytes bytes = {large, sizeof large};
    mp_str result;
    mp__fault fault;
    carrier c;
    carry(&c, &mp__type_mp_bytes, &bytes);
    cr_assert_eq(mp__decode_result(&mp__type_mp_str, &c.frame, &result, &fault), MP_EENCODING);
    cr_assert_not_null(c.reader.block);
    cr_assert_null(result.data);
    drop(&c);
}

/* A payload whose control part is one reference, or two in an array. */
static mp_status decode_payload(const mp_type *type, const char *control, size_t size, mp__fault *fault)
{
    static uint8_t payload[1024];
    any_value value;
    memset(payload, 0, sizeof payload);
    mp__frame frame = {.size = size, .control = from_hex(control, payload), .data = payload};
    mp_status status = mp__decode_result(type, &frame, &value, fault);
    mp_free_values(type, &value, 1);
    return status;
}

CHECK(place, references__that_do_not_add_up__are_refused)
{
    const mp_type *bytes = &mp__type_mp_bytes, *doubles = &mp__type_mp_span_double;
    mp__fault fault;
    cr_assert_eq(decode_payload(bytes, "d701 0800000000000000", 72, &fault), MP_OK);
    cr_assert_eq(decode_payload(bytes, "d701 0800000000000000", 71, &fault), MP_EFORMAT);
    cr_assert_str_eq(fault.message, "the payload ends within the blob");
    cr_assert_eq(decode_payload(bytes, "d701 0800000000000000", 73, &fault), MP_EFORMAT);
    cr_assert_str_eq(fault.message, "1 bytes of the payload belong to no blob");
    cr_assert_eq(decode_payload(bytes, "d701 ffffffffffffffff", 72, &fault), MP_EFORMAT);
    cr_assert_eq(decode_payload(bytes, "d701 c0ffffffffffffff", 72, &fault), MP_EFORMAT);
    cr_assert_eq(decode_payload(bytes, "d701 0000000000000000", 64, &fault), MP_EFORMAT);
    cr_assert_str_eq(fault.message, "a blob of no bytes");
    cr_assert_eq(decode_payload(bytes, "d701 0800000000000000", 10, &fault), MP_EFORMAT);
    cr_assert_eq(decode_payload(bytes, "d701 08000000", 72, &fault), MP_ETYPE, "cut short, it is an ext");
    cr_assert_eq(decode_payload(bytes, "d702 0800000000000000", 72, &fault), MP_ETYPE, "another type of ext");
    cr_assert_eq(decode_payload(bytes, "c400", 72, &fault), MP_EFORMAT, "no reference at all");
    cr_assert_eq(decode_payload(doubles, "d701 0800000000000000", 72, &fault), MP_OK);
    cr_assert_eq(decode_payload(doubles, "d701 0900000000000000", 73, &fault), MP_EFORMAT);
    cr_assert_str_eq(fault.message, "9 bytes are no whole number of double");
    cr_assert_eq(decode_payload(&mp__type_mp_any, "d701 0200000000000000", 66, &fault), MP_EFORMAT);
    cr_assert_str_eq(fault.message, "more than one msgpack value in the blob");
}

CHECK(place, references__two__follow_each_other_at_64)
{
    mp__fault fault;
    const char *two = "92 d701 0100000000000000 d701 0100000000000000";
    cr_assert_eq(decode_payload(&mp__type_mp_span_mp_bytes, two, 129, &fault), MP_OK);
    cr_assert_eq(decode_payload(&mp__type_mp_span_mp_bytes, two, 128, &fault), MP_EFORMAT);
    cr_assert_eq(decode_payload(&mp__type_mp_span_mp_bytes, two, 130, &fault), MP_EFORMAT);
    two = "92 d701 3700000000000000 d701 0100000000000000"; /* 64 + 55 leaves 9 */
    cr_assert_eq(decode_payload(&mp__type_mp_span_mp_bytes, two, 129, &fault), MP_OK);
    two = "92 d701 3800000000000000 d701 0100000000000000"; /* 64 + 56 leaves 8: one more 64 */
    cr_assert_eq(decode_payload(&mp__type_mp_span_mp_bytes, two, 193, &fault), MP_OK);
}

CHECK(place, over_aligned_elements__are_aligned)
{
    aligned items[2] = {{.text = mp_str_of("one")}, {.text = mp_str_of("two")}};
    aligned_span value = {{items, 2}}, result;
    mp__buffer out = {0}, scratch = {0};
    mp__fault fault;
    cr_assert_eq(mp__encode(&out, &mp__type_aligned_span, &value, NULL, &fault), MP_OK);
    mp__frame frame = frame_of(out.data, out.size);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(mp__decode_result(&mp__type_aligned_span, &frame, &result, &fault), MP_OK);
        cr_assert_eq((uintptr_t)result.all.items % 64, 0);
        cr_assert_str_eq(result.all.items[1].text.data, "two");
        mp_free(aligned_span, &result, 1);
        cr_assert_eq(mp__decode_input(&mp__type_aligned_span, &frame, &result, &scratch, &fault), MP_OK);
        cr_assert_eq((uintptr_t)result.all.items % 64, 0);
        mp__buffer_fini(&scratch);
    }
    mp__buffer_fini(&out);
}
