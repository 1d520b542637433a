/* The decoder: what it takes, and what it refuses, where and why. The large pieces are in test_place.c, numbers alone in
 * test_number.c. */
#include "tests/lib/check.h"
#include "tests/unit/values.h"

TestSuite(decode, .timeout = 60);

typedef struct {
    int8_t id;
    double value;
} pair;
MP_TYPE(pair, id, value);
typedef struct {
    MP_SPAN(pair) pairs;
    mp_str name;
} pairs;
MP_TYPE(pairs, (pair, pairs), name);

static bool refused(const mp_type *type, const char *hex, mp_status status, const char *text)
{
    any_value value;
    mp__fault fault;
    char said[400] = "";
    memset(&value, 0xee, sizeof value);
    mp_status got = decode_hex(type, hex, &value, &fault);
    if (got != MP_OK)
        mp__fault_text(&fault, said, sizeof said);
    bool good = got == status && fault.status == status && !strcmp(said, text);
    for (size_t i = 0; i < type->size; i++)
        good = good && value.bytes[i] == 0;
    if (!good)
        cr_log_error("%s: %s", mp_status_name(got), said);
    return good;
}

CHECK(decode, types__that_are_not_the_promised_ones__are_named)
{
    cr_assert(refused(&mp__type_int32_t, "93 01 02 03", MP_ETYPE, "expected int32, got an array (byte 0)"));
    cr_assert(refused(&mp__type_uint8_t, "cb 3ff0000000000000", MP_ETYPE, "expected uint8, got a float (byte 0)"));
    cr_assert(refused(&mp__type_double, "a1 61", MP_ETYPE, "expected double, got a text (byte 0)"));
    cr_assert(refused(&mp__type_bool, "01", MP_ETYPE, "expected bool, got an integer (byte 0)"));
    cr_assert(refused(&mp__type_mp_none, "c2", MP_ETYPE, "expected nil, got a bool (byte 0)"));
    cr_assert(refused(&mp__type_mp_str, "c4 01 61", MP_ETYPE, "expected str, got bytes (byte 0)"));
    cr_assert(refused(&mp__type_mp_bytes, "a1 61", MP_ETYPE, "expected bytes, got a text (byte 0)"));
    cr_assert(refused(&mp__type_mp_span_double, "c0", MP_ETYPE, "expected span of double, got nil (byte 0)"));
    cr_assert(refused(&mp__type_mp_span_pair, "c4 00", MP_ETYPE, "expected span of pair, got bytes (byte 0)"));
    cr_assert(refused(&mp__type_pair, "82 01 02 03 04", MP_ETYPE, "expected pair, got a map (byte 0)"));
    cr_assert(refused(&mp__type_pair, "d6 01 02 03 04 05", MP_ETYPE, "expected pair, got an ext (byte 0)"));
    cr_assert(refused(&mp__type_int8_t, "d7 01 0100000000000000", MP_ETYPE, "expected int8, got an ext (byte 0)"));
}

CHECK(decode, structs__with_another_number_of_fields__are_named)
{
    cr_assert(refused(&mp__type_pair, "93 01 02 03", MP_ETYPE, "pair has 2 fields, got 3 (byte 0)"));
    cr_assert(refused(&mp__type_pair, "91 01", MP_ETYPE, "pair has 2 fields, got 1 (byte 0)"));
    cr_assert(refused(&mp__type_pairs, "92 92 92 01 02 91 01 a0", MP_ETYPE,
                      "field 'pairs[1]': pair has 2 fields, got 1 (byte 5)"));
}

CHECK(decode, faults__deep_in_a_value__have_the_path_and_the_offset)
{
    cr_assert(refused(&mp__type_pairs, "92 92 92 01 02 92 cc 80 02 a0", MP_ERANGE,
                      "field 'pairs[1].id': 128 does not fit int8 (byte 6)"));
    cr_assert(refused(&mp__type_mp_span_mp_str, "92 a0 a1 ff", MP_EENCODING,
                      "element '[1]': the text is not UTF-8: 0xff at its byte 0 (byte 2)"));
    cr_assert(
        refused(&mp__type_mp_span_pair, "91 92 01 c0", MP_ETYPE, "element '[0].value': expected double, got nil (byte 3)"));
}

CHECK(decode, bytes__cut_short_anywhere__are_refused)
{
    static arena memory;
    chance c = {.state = 8, .most = 5, .arena = &memory};
    for (size_t i = 0; i < 10 * ALL_TYPES; i++) {
        const mp_type *type = all_types[i % ALL_TYPES];
        any_value value;
        mp__buffer whole = {0};
        mp__fault fault;
        random_value(&c, type, &value);
        cr_assert_eq(mp__encode(&whole, type, &value, NULL, &fault), MP_OK);
        for (size_t size = 0; size < whole.size; size += 1 + size / 64) {
            uint8_t *piece = malloc(size ? size : 1);
            memcpy(piece, whole.data, size);
            mp__frame frame = frame_of(piece, size);
            cr_assert_eq(mp__decode_result(type, &frame, &value, &fault), MP_EFORMAT, "%s: %s", type->name, fault.message);
            free(piece);
        }
        mp__buffer_fini(&whole);
        arena_empty(&memory);
    }
}

CHECK(decode, heads__cut_short__are_refused)
{
    cr_assert(refused(&mp__type_pair, "dc 00", MP_EFORMAT, "the bytes end within the value (byte 0)"));
    cr_assert(refused(&mp__type_mp_str, "da 00", MP_EFORMAT, "the bytes end within the value (byte 0)"));
    cr_assert(refused(&mp__type_double, "cd 01", MP_EFORMAT, "the bytes end within the value (byte 0)"));
    cr_assert(refused(&mp__type_double, "cb 00", MP_EFORMAT, "the bytes end within the value (byte 0)"));
    cr_assert(refused(&mp__type_float, "ca 00", MP_EFORMAT, "the bytes end within the value (byte 0)"));
    cr_assert(refused(&mp__type_int32_t, "d2 00", MP_EFORMAT, "the bytes end within the value (byte 0)"));
}

CHECK(decode, input__that_is_refused__is_zero)
{
    mp_str text = {"x", 1};
    mp__buffer scratch = {0};
    mp__fault fault;
    mp__frame frame = frame_of("\xa2"
                               "a\xff",
                               3);
    cr_assert_eq(mp__decode_input(&mp__type_mp_str, &frame, &text, &scratch, &fault), MP_EENCODING);
    cr_assert(text.data == NULL && text.size == 0);
    mp__buffer_fini(&scratch);
}

CHECK(decode, bytes__behind_the_value__are_refused)
{
    cr_assert(refused(&mp__type_int8_t, "01 02", MP_EFORMAT, "1 bytes are left over (byte 1)"));
    cr_assert(refused(&mp__type_pair, "92 01 02 c0 c0", MP_EFORMAT, "2 bytes are left over (byte 3)"));
    cr_assert(refused(&mp__type_mp_str, "a1 61 a0", MP_EFORMAT, "1 bytes are left over (byte 2)"));
    cr_assert(refused(&mp__type_mp_any, "c0 c0", MP_EFORMAT, "1 bytes are left over (byte 1)"));
}

CHECK(decode, nothing_and_0xc1__are_refused)
{
    for (size_t t = 0; t < ALL_TYPES; t++) {
        any_value value;
        mp__fault fault;
        cr_assert_eq(decode_hex(all_types[t], "", &value, &fault), MP_EFORMAT, "%s", all_types[t]->name);
        cr_assert_eq(decode_hex(all_types[t], "c1", &value, &fault), MP_EFORMAT, "%s", all_types[t]->name);
    }
}

CHECK(decode, counts__that_the_bytes_cannot_pay_for__are_refused_without_memory)
{
    fail_allocation(0);
    cr_expect(
        refused(&mp__type_mp_span_pair, "dd ffffffff 92 01 02", MP_EFORMAT, "the bytes end within the value (byte 0)"));
    cr_expect(
        refused(&mp__type_mp_span_double, "dd 00000003 01 02", MP_EFORMAT, "the bytes end within the value (byte 0)"));
    cr_expect(refused(&mp__type_mp_span_double, "c6 ffffffff 01", MP_EFORMAT, "the bytes end within the value (byte 0)"));
    cr_expect(refused(&mp__type_mp_str, "db ffffffff 61", MP_EFORMAT, "the bytes end within the value (byte 0)"));
    fail_no_allocation();
}

/* A struct of over a megabyte that is two bytes when empty. */
enum { PAGE = (1 << 20) + 512 };
static const mp_field page_fields[] = {{"text", 0, PAGE, &mp__type_char}};
static const mp_type page = {sizeof(mp_type), MP__STRUCT, PAGE, 1, "page", 1, page_fields, NULL};
static const mp_type page_span = {sizeof(mp_type), MP__SPAN_OF, 16, 8, "span of page", 0, NULL, &page};
static const mp_field booklet_fields[] = {{"pages", 0, 0, &page_span}, {"text", 16, 0, &mp__type_mp_str}};
static const mp_type booklet = {sizeof(mp_type), MP__STRUCT, 32, 8, "booklet", 2, booklet_fields, NULL};

/* Such a span, and a text: what is said of them when no memory may be taken. */
static mp_status decode_pages(size_t pages, size_t text, mp__fault *fault)
{
    static uint8_t bytes[1 << 20];
    any_value value;
    size_t at = 4;
    memcpy(bytes, (uint8_t[]){0x92, 0xdc, (uint8_t)(pages >> 8), (uint8_t)pages}, at);
    for (size_t i = 0; i < pages; i++, at += 2)
        memcpy(bytes + at, "\x91\xa0", 2);
    bytes[at] = 0xdb;
    for (int i = 0; i < 4; i++)
        bytes[at + 1 + (size_t)i] = (uint8_t)(text >> (24 - 8 * i));
    memset(bytes + at + 5, 'a', text);
    mp__frame frame = frame_of(bytes, at + 5 + text);
    fail_allocation(0);
    mp_status status = mp__decode_result(&booklet, &frame, &value, fault);
    fail_no_allocation();
    return status;
}

CHECK(decode, memory__more_than_the_limit__is_refused)
{
    mp__fault fault;
    cr_assert_eq(decode_pages(2000, 0, &fault), MP_ELIMIT);
    cr_assert_str_eq(fault.path, "pages");
    cr_assert_str_eq(fault.message, "the value would take more than 1073741824 bytes of memory");
    cr_assert_eq(decode_pages(1023, 600000, &fault), MP_ELIMIT);
    cr_assert_str_eq(fault.path, "text");
    cr_assert_eq(decode_pages(1023, 500000, &fault), MP_ENOMEM, "just under it: only now memory is asked for");
}

CHECK(decode, texts__utf_8_or_not__are_checked)
{
    mp_str text;
    mp__fault fault;
    cr_assert_eq(decode_hex(&mp__type_mp_str, "a5 63 61 66 c3 a9", &text, &fault), MP_OK);
    cr_assert_str_eq(text.data, "caf\xc3\xa9");
    mp_free(mp_str, &text, 1);
    cr_assert_null(text.data);
    cr_assert(refused(&mp__type_mp_str, "a3 61 c3 28", MP_EENCODING, "the text is not UTF-8: 0xc3 at its byte 1 (byte 0)"));
    cr_assert(refused(&mp__type_mp_str, "d9 01 80", MP_EENCODING, "the text is not UTF-8: 0x80 at its byte 0 (byte 0)"));
}

CHECK(decode, lengths__in_longer_forms_than_needed__are_taken)
{
    static const char *const texts[] = {"a1 61", "d9 01 61", "da 0001 61", "db 00000001 61"};
    static const char *const bins[] = {"c4 01 61", "c5 0001 61", "c6 00000001 61"};
    static const char *const structs[] = {"92 01 02", "dc 0002 01 02", "dd 00000002 01 02"};
    mp__fault fault;
    mp_str text;
    pair both;
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(decode_hex(&mp__type_mp_str, texts[i], &text, &fault), MP_OK);
        cr_assert_str_eq(text.data, "a");
        mp_free(mp_str, &text, 1);
    }
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(decode_hex(&mp__type_mp_bytes, bins[i], &text, &fault), MP_OK);
        cr_assert_str_eq(text.data, "a");
        mp_free_values(&mp__type_mp_bytes, &text, 1);
        cr_assert_eq(decode_hex(&mp__type_pair, structs[i], &both, &fault), MP_OK);
        cr_assert(both.id == 1 && both.value > 1.5 && both.value < 2.5);
    }
}

CHECK(decode, empty_data__of_each_kind__own_nothing)
{
    mp_str text = {"x", 1};
    mp_bytes bytes = {"x", 1};
    mp_span_double span = {(double *)&text, 1};
    mp_span_pair many = {(pair *)&text, 1};
    mp__fault fault;
    fail_allocation(0);
    cr_expect_eq(decode_hex(&mp__type_mp_str, "a0", &text, &fault), MP_OK);
    cr_expect_eq(decode_hex(&mp__type_mp_bytes, "c4 00", &bytes, &fault), MP_OK);
    cr_expect_eq(decode_hex(&mp__type_mp_span_double, "90", &span, &fault), MP_OK);
    cr_expect_eq(decode_hex(&mp__type_mp_span_pair, "90", &many, &fault), MP_OK);
    fail_no_allocation();
    cr_assert(text.data && text.data[0] == 0 && text.size == 0);
    cr_assert(bytes.data == NULL && bytes.size + span.count + many.count == 0 && !span.items && !many.items);
}

CHECK(decode, numeric_spans__as_bins_and_as_lists__are_the_same)
{
    mp_span_int16_t bin, list;
    mp__fault fault;
    cr_assert_eq(decode_hex(&mp__type_mp_span_int16_t, "c4 06 0100 feff ff7f", &bin, &fault), MP_OK);
    cr_assert_eq(decode_hex(&mp__type_mp_span_int16_t, "93 cf0000000000000001 fe cd7fff", &list, &fault), MP_OK);
    cr_assert(same_value(&mp__type_mp_span_int16_t, &bin, &list));
    cr_assert(bin.count == 3 && bin.items[0] == 1 && bin.items[1] == -2 && bin.items[2] == 32767);
    mp_free(mp_span_int16_t, &bin, 1);
    mp_free(mp_span_int16_t, &list, 1);
    cr_assert(
        refused(&mp__type_mp_span_int16_t, "c4 03 010203", MP_EFORMAT, "3 bytes are no whole number of int16 (byte 0)"));
    cr_assert(
        refused(&mp__type_mp_span_int16_t, "92 01 cd8000", MP_ERANGE, "element '[1]': 32768 does not fit int16 (byte 2)"));
    cr_assert(refused(&mp__type_mp_span_bool, "c4 03 010002", MP_EFORMAT, "element 2 is no bool: 0x02 (byte 0)"));
    cr_assert(
        refused(&mp__type_mp_span_bool, "92 c2 01", MP_ETYPE, "element '[1]': expected bool, got an integer (byte 2)"));
}

#define ARRAYS_TAIL "c408 0000000000000000 c409 000000000000000000 92 9e" ZEROS "9e" ZEROS "93 a0 a0 a0"
#define ZEROS "00 00 00 00 00 00 00 00 00 00 00 ca00000000 cb0000000000000000 c2"

CHECK(decode, fixed_arrays__as_bins_and_as_lists__need_their_very_count)
{
    arrays value;
    mp__fault fault;
    memset(&value, 0x11, sizeof value);
    cr_assert_eq(decode_hex(&mp__type_arrays,
                            "99 a2 6869 c403 01fe03 95 01 02 03 04 cdffff c404 07000000 94 00 00 00 01" ARRAYS_TAIL, &value,
                            &fault),
                 MP_OK, "%s %s", fault.path, fault.message);
    cr_assert(memcmp(value.name, "hi\0\0\0\0\0", 8) == 0 && value.i8[1] == -2 && value.u16[4] == 65535 &&
              value.i32[0] == 7);
    cr_assert(value.d[3] > 0.5 && value.unnamed == 0);
    mp_free(arrays, &value, 1);
    cr_assert(refused(&mp__type_arrays, "99 a0 c402 0102 00 00 00 00 00 00 00", MP_ETYPE,
                      "field 'i8': expected 3 of int8, got 2 (byte 2)"));
    cr_assert(refused(&mp__type_arrays, "99 a0 94 01020304 00 00 00 00 00 00 00", MP_ETYPE,
                      "field 'i8': expected 3 of int8, got 4 (byte 2)"));
    cr_assert(refused(&mp__type_arrays, "99 a0 01 00 00 00 00 00 00 00", MP_ETYPE,
                      "field 'i8': expected an array of numbers, got an integer (byte 2)"));
}

CHECK(decode, chars__too_long_or_with_a_zero_or_not_utf_8__are_refused)
{
    const char *rest = "00 00 00 00 00 00 00 00";
    char hex[100];
    (void)snprintf(hex, sizeof hex, "99 a9 %s %s", "616161616161616161", rest);
    cr_assert(refused(&mp__type_arrays, hex, MP_ELIMIT, "field 'name': 9 bytes do not fit char[8] (byte 1)"));
    (void)snprintf(hex, sizeof hex, "99 a3 %s %s", "610061", rest);
    cr_assert(refused(&mp__type_arrays, hex, MP_EFORMAT, "field 'name': a zero byte in a text for char[8] (byte 1)"));
    (void)snprintf(hex, sizeof hex, "99 a1 %s %s", "ff", rest);
    cr_assert(
        refused(&mp__type_arrays, hex, MP_EENCODING, "field 'name': the text is not UTF-8: 0xff at its byte 0 (byte 1)"));
    (void)snprintf(hex, sizeof hex, "99 c4 01 %s %s", "61", rest);
    cr_assert(refused(&mp__type_arrays, hex, MP_ETYPE, "field 'name': expected a text, got bytes (byte 1)"));
}

CHECK(decode, anys__deeper_than_is_left_where_they_stand__are_refused)
{
    char hex[200] = "91";
    for (size_t i = 0; i < 31; i++)
        strcat(hex, "91");
    strcat(hex, "c0");
    mp_span_mp_any span;
    mp__fault fault;
    cr_assert_eq(decode_hex(&mp__type_mp_span_mp_any, hex, &span, &fault), MP_OK);
    cr_assert_eq(span.items[0].size, 32);
    mp_free(mp_span_mp_any, &span, 1);
    hex[strlen(hex) - 2] = 0;
    strcat(hex, "91 c0");
    cr_assert(refused(&mp__type_mp_span_mp_any, hex, MP_ELIMIT,
                      "element '[0]': more than 31 arrays and maps are nested (byte 1)"));
    cr_assert(
        refused(&mp__type_mp_span_mp_any, "91 92 01", MP_EFORMAT, "element '[0]': not one whole msgpack value (byte 1)"));
}

CHECK(decode, fields_without_a_name_and_padding__are_zero)
{
    pair both;
    arrays value;
    mp__fault fault;
    memset(&both, 0xff, sizeof both);
    cr_assert_eq(decode_hex(&mp__type_pair, "92 01 02", &both, &fault), MP_OK);
    for (size_t i = 1; i < offsetof(pair, value); i++)
        cr_assert_eq(((uint8_t *)&both)[i], 0);
    memset(&value, 0xff, sizeof value);
    cr_assert_eq(decode_hex(&mp__type_arrays,
                            "99 a0 c403 000000 c40a 00000000000000000000 c404 00000000 94 00 00 00 00" ARRAYS_TAIL, &value,
                            &fault),
                 MP_OK);
    cr_assert_eq(value.unnamed, 0);
}

CHECK(decode, memory__not_to_be_had__is_a_status_and_leaves_zero)
{
    mp_str text = {"x", 1};
    mp__fault fault;
    mp__buffer scratch = {0};
    mp__frame frame = frame_of("\xa1"
                               "a",
                               2);
    fail_allocation(0);
    mp_status result = mp__decode_result(&mp__type_mp_str, &frame, &text, &fault);
    mp_status input = mp__decode_input(&mp__type_mp_str, &frame, &text, &scratch, &fault);
    fail_no_allocation();
    cr_assert_eq(result, MP_ENOMEM);
    cr_assert_eq(input, MP_ENOMEM);
    cr_assert_null(text.data);
    cr_assert_eq(text.size, 0);
}

CHECK(decode, input__one_after_the_other__uses_the_scratch_again)
{
    mp__buffer scratch = {0};
    mp__fault fault;
    mp_str first, second;
    mp__frame one = frame_of("\xa5"
                             "first",
                             6),
              two = frame_of("\xa6"
                             "second",
                             7);
    cr_assert_eq(mp__decode_input(&mp__type_mp_str, &one, &first, &scratch, &fault), MP_OK);
    cr_assert_str_eq(first.data, "first");
    cr_assert_eq(mp__decode_input(&mp__type_mp_str, &two, &second, &scratch, &fault), MP_OK);
    cr_assert_str_eq(second.data, "second");
    cr_assert_eq((const void *)second.data, (const void *)first.data, "the same place");
    mp__buffer_fini(&scratch);
}

CHECK(decode, addresses__are_refused_whatever_came)
{
    const char *text =
        "an mp_ptr means nothing in another process: use a thread pool, or send the data (mp_bytes, MP_SPAN)";
    static const char *const hex[] = {"c0", "00", "c4 08 0000000000000000", "cf 00007f0000000000", "90"};
    mp__fault fault;
    mp_ptr one;
    holder deep;
    for (size_t i = 0; i < sizeof hex / sizeof hex[0]; i++) {
        one.address = &one;
        cr_assert_eq(decode_hex(&mp__type_mp_ptr, hex[i], &one, &fault), MP_ETYPE, "%s", hex[i]);
        cr_assert_str_eq(fault.message, text);
        cr_assert_null(one.address);
    }
    cr_assert_eq(decode_hex(&mp__type_holder, "92 a0 91 93 c0 93 c0 c0 c0 90", &deep, &fault), MP_ETYPE);
    cr_assert_str_eq(fault.path, "all[0].one");
}
