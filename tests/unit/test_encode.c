/* The encoder: the very bytes, and what it refuses, where and why. */
#include "tests/lib/check.h"
#include "tests/unit/values.h"

TestSuite(encode, .timeout = 60);

static mp_status encode(const mp_type *type, const void *value, mp__fault *fault)
{
    mp__buffer out = {0};
    mp_status status = mp__encode(&out, type, value, NULL, fault);
    if (status != MP_OK && out.size != 0)
        status = MP_EUSER;
    mp__buffer_fini(&out);
    return status;
}

/* Ours and msgpack-c's bytes of one integer. */
static bool packs_like_msgpack_c(const mp_type *type, const void *value)
{
    mp__buffer ours = {0};
    mp__fault fault;
    msgpack_sbuffer theirs;
    msgpack_packer packer;
    msgpack_sbuffer_init(&theirs);
    msgpack_packer_init(&packer, &theirs, msgpack_sbuffer_write);
    pack_value(NULL, &packer, type, value);
    bool same = mp__encode(&ours, type, value, NULL, &fault) == MP_OK && ours.size == theirs.size &&
                memcmp(ours.data, theirs.data, theirs.size) == 0;
    msgpack_sbuffer_destroy(&theirs);
    mp__buffer_fini(&ours);
    return same;
}

CHECK(encode, integers__around_each_power_of_two__are_msgpack_c_s_bytes)
{
    for (unsigned shift = 0; shift < 64; shift++) {
        for (int64_t near = -3; near <= 3; near++) {
            int64_t positive = (int64_t)(((uint64_t)1 << shift) + (uint64_t)near),
                    negative = (int64_t)(0 - (uint64_t)positive);
            cr_assert(packs_like_msgpack_c(&mp__type_int64_t, &positive), "%lld", (long long)positive);
            cr_assert(packs_like_msgpack_c(&mp__type_int64_t, &negative), "%lld", (long long)negative);
            cr_assert(packs_like_msgpack_c(&mp__type_uint64_t, &positive), "%llu", (unsigned long long)positive);
            cr_assert(packs_like_msgpack_c(&mp__type_uint64_t, &negative), "%llu", (unsigned long long)negative);
        }
    }
}

CHECK(encode, integers__all_of_16_bits__are_msgpack_c_s_bytes)
{
    for (int i = INT16_MIN; i <= UINT16_MAX; i++) {
        int16_t number = (int16_t)i;
        uint16_t natural = (uint16_t)i;
        int8_t small = (int8_t)i;
        char character = (char)i;
        cr_assert(packs_like_msgpack_c(&mp__type_int16_t, &number), "%d", number);
        cr_assert(packs_like_msgpack_c(&mp__type_uint16_t, &natural), "%d", natural);
        cr_assert(packs_like_msgpack_c(&mp__type_int8_t, &small), "%d", small);
        cr_assert(packs_like_msgpack_c(&mp__type_char, &character), "%d", character);
    }
}

CHECK(encode, floats__special_ones__keep_their_bits)
{
    double wide = -0.0, quiet;
    float narrow = INFINITY;
    uint64_t bits = 0x7ff8000000000123;
    memcpy(&quiet, &bits, sizeof quiet);
    cr_assert(encodes_to(&mp__type_double, &wide, "cb 80 00 00 00 00 00 00 00"));
    cr_assert(encodes_to(&mp__type_double, &quiet, "cb 7f f8 00 00 00 00 01 23"));
    cr_assert(encodes_to(&mp__type_float, &narrow, "ca 7f 80 00 00"));
}

CHECK(encode, scalars__one_of_each__are_these_bytes)
{
    bool yes = true;
    mp_none none = {0};
    mp_bytes bytes = {"\x01\x02", 2};
    mp_str text = mp_str_of("hi"), empty = {NULL, 0};
    mp_any any = {"\x93\x01\x02\xc0", 4};
    cr_assert(encodes_to(&mp__type_bool, &yes, "c3"));
    cr_assert(encodes_to(&mp__type_mp_none, &none, "c0"));
    cr_assert(encodes_to(&mp__type_mp_bytes, &bytes, "c4 02 01 02"));
    cr_assert(encodes_to(&mp__type_mp_str, &text, "a2 68 69"));
    cr_assert(encodes_to(&mp__type_mp_str, &empty, "a0"));
    cr_assert(encodes_to(&mp__type_mp_any, &any, "93 01 02 c0"));
}

CHECK(encode, lengths__around_each_change_of_form__are_msgpack_c_s_bytes)
{
    static char data[70000];
    static const size_t sizes[] = {0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536, 69999};
    memset(data, 'x', sizeof data);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        mp_str text = {data, sizes[i]};
        mp_span_bool bools = {NULL, 0};
        mp_str *texts = calloc(sizes[i] + 1, sizeof *texts);
        mp_span_mp_str span = {texts, sizes[i]};
        cr_assert(packs_like_msgpack_c(&mp__type_mp_str, &text), "str %zu", sizes[i]);
        cr_assert(packs_like_msgpack_c(&mp__type_mp_bytes, &text), "bin %zu", sizes[i]);
        cr_assert(packs_like_msgpack_c(&mp__type_mp_span_char, &text), "chars %zu", sizes[i]);
        cr_assert(packs_like_msgpack_c(&mp__type_mp_span_mp_str, &span), "array %zu", sizes[i]);
        cr_assert(packs_like_msgpack_c(&mp__type_mp_span_bool, &bools));
        free(texts);
    }
}

CHECK(encode, chars__with_and_without_a_zero__are_texts)
{
    arrays value = {.name = "12345678"};
    mp__buffer out = {0};
    mp__fault fault;
    cr_assert_eq(mp__encode(&out, &mp__type_arrays, &value, NULL, &fault), MP_OK);
    cr_assert_arr_eq(out.data,
                     "\x99\xa8"
                     "12345678",
                     10);
    memcpy(value.name, "ab\0cdefg", 8);
    out.size = 0;
    cr_assert_eq(mp__encode(&out, &mp__type_arrays, &value, NULL, &fault), MP_OK);
    cr_assert_arr_eq(out.data,
                     "\x99\xa2"
                     "ab\xc4",
                     5);
    mp__buffer_fini(&out);
}

CHECK(encode, any__an_ext_like_a_blob_s_reference__takes_its_longer_form)
{
    mp_any like = {"\xd7\x01xxxxxxxx", 10}, other = {"\xd7\x02xxxxxxxx", 10};
    cr_assert(encodes_to(&mp__type_mp_any, &like, "c7 08 01 78 78 78 78 78 78 78 78"));
    cr_assert(encodes_to(&mp__type_mp_any, &other, "d7 02 78 78 78 78 78 78 78 78"));
}

static bool refused(const mp_type *type, const void *value, mp_status status, const char *path, const char *message)
{
    mp__fault fault;
    mp_status got = encode(type, value, &fault);
    bool good = got == status && fault.status == status && !strcmp(fault.path, path) && !strcmp(fault.message, message);
    if (!good)
        cr_log_error("%s '%s': %s", mp_status_name(got), got ? fault.path : "", got ? fault.message : "");
    return good;
}

CHECK(encode, bools__neither_0_nor_1__are_refused)
{
    uint8_t odd = 7, many[] = {0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0};
    mp_span_bool span = {(bool *)many, sizeof many};
    arrays value = {.name = ""};
    ((uint8_t *)value.b)[8] = 0xff;
    cr_assert(refused(&mp__type_bool, &odd, MP_EINVAL, "", "a bool must be 0 or 1, not 7"));
    cr_assert(refused(&mp__type_mp_span_bool, &span, MP_EINVAL, "[10]", "a bool must be 0 or 1, not 2"));
    cr_assert(refused(&mp__type_arrays, &value, MP_EINVAL, "b[8]", "a bool must be 0 or 1, not 255"));
}

CHECK(encode, null__with_a_size__is_refused)
{
    mp_str text = {NULL, 5};
    mp_span_double span = {NULL, 2};
    mp_span_point points = {NULL, 1};
    cr_assert(refused(&mp__type_mp_str, &text, MP_EINVAL, "", "NULL with a size of 5"));
    cr_assert(refused(&mp__type_mp_bytes, &text, MP_EINVAL, "", "NULL with a size of 5"));
    cr_assert(refused(&mp__type_mp_any, &text, MP_EINVAL, "", "NULL with a size of 5"));
    cr_assert(refused(&mp__type_mp_span_double, &span, MP_EINVAL, "", "NULL with a count of 2"));
    cr_assert(refused(&mp__type_mp_span_point, &points, MP_EINVAL, "", "NULL with a count of 1"));
}

CHECK(encode, sizes__that_cannot_be__are_refused)
{
    mp_span_double span = {(double *)&span, SIZE_MAX / 8 + 2};
    mp_bytes bytes = {&span, SIZE_MAX};
    mp__fault fault;
    cr_assert_eq(encode(&mp__type_mp_span_double, &span, &fault), MP_EINVAL);
    cr_assert_eq(encode(&mp__type_mp_bytes, &bytes, &fault), MP_EINVAL);
}

CHECK(encode, lengths__over_32_bits_in_line__are_refused)
{
    mp_bytes bytes = {"x", (size_t)UINT32_MAX + 1}; /* refused before it is read */
    mp_span_double span = {(double *)&bytes, (size_t)1 << 29};
    cr_assert(refused(&mp__type_mp_bytes, &bytes, MP_ELIMIT, "", "4294967296 are more than msgpack can count (2^32 - 1)"));
    cr_assert(
        refused(&mp__type_mp_span_double, &span, MP_ELIMIT, "", "4294967296 are more than msgpack can count (2^32 - 1)"));
}

CHECK(encode, blobs__over_32_bits__are_references)
{
    mp_bytes bytes = {"x", (size_t)UINT32_MAX + 1}; /* only referred to */
    mp__buffer out = {0};
    mp__blobs blobs = {0};
    mp__fault fault;
    cr_assert_eq(mp__encode(&out, &mp__type_mp_bytes, &bytes, &blobs, &fault), MP_OK);
    cr_assert_eq(out.size, 10);
    cr_assert_arr_eq(out.data, "\xd7\x01\0\0\0\0\1\0\0\0", 10);
    cr_assert_eq(blobs.count, 1);
    cr_assert_eq(blobs.items[0].data, bytes.data);
    cr_assert_eq(blobs.items[0].size, bytes.size);
    mp__blobs_fini(&blobs);
    mp__buffer_fini(&out);
}

CHECK(encode, blobs__more_than_a_value_may_have__are_refused)
{
    mp_bytes two[2] = {{"x", MP_ITEM_SIZE_MAX}, {"x", MP__BLOB_MIN}};
    mp_span_mp_bytes span = {two, 2};
    mp__buffer out = {0};
    mp__blobs blobs = {0};
    mp__fault fault;
    cr_assert_eq(mp__encode(&out, &mp__type_mp_span_mp_bytes, &span, &blobs, &fault), MP_ELIMIT);
    cr_assert_str_eq(fault.path, "[1]");
    cr_assert_eq(blobs.count, 0);
    cr_assert_eq(out.size, 0);
    mp__blobs_fini(&blobs);
    mp__buffer_fini(&out);
}

CHECK(encode, texts__that_are_not_utf_8__are_refused)
{
    mp_str text = {"ab\xff"
                   "c",
                   4};
    owner value = {.text = mp_str_of(""), .any = {"\xc0", 1}, .last = {"\xed\xa0\x80", 3}};
    arrays with = {.name = "abc\xc3"}, cut = {.name = "1234567\xc3"};
    cr_assert(refused(&mp__type_mp_str, &text, MP_EENCODING, "", "the text is not UTF-8: 0xff at its byte 2"));
    cr_assert(refused(&mp__type_owner, &value, MP_EENCODING, "last", "the text is not UTF-8: 0xed at its byte 0"));
    cr_assert(refused(&mp__type_arrays, &with, MP_EENCODING, "name", "the text is not UTF-8: 0xc3 at its byte 3"));
    cr_assert(refused(&mp__type_arrays, &cut, MP_EENCODING, "name", "the text is not UTF-8: 0xc3 at its byte 7"));
}

CHECK(encode, anys__that_are_not_one_value__are_refused)
{
    mp_any nothing = {NULL, 0}, two = {"\x01\x02", 2}, cut = {"\x92\x01", 2}, wrong = {"\xc1", 1};
    const char *message = "the mp_any is not one whole msgpack value (for nothing, write nil)";
    cr_assert(refused(&mp__type_mp_any, &nothing, MP_EINVAL, "", message));
    cr_assert(refused(&mp__type_mp_any, &two, MP_EINVAL, "", message));
    cr_assert(refused(&mp__type_mp_any, &cut, MP_EINVAL, "", message));
    cr_assert(refused(&mp__type_mp_any, &wrong, MP_EINVAL, "", message));
}

CHECK(encode, anys__deeper_than_is_left_where_they_stand__are_refused)
{
    uint8_t deep[33];
    memset(deep, 0x91, sizeof deep - 1);
    deep[32] = 0xc0;
    mp_any whole = {deep, 33}, one_less = {deep + 1, 32};
    mp_span_mp_any span = {&whole, 1};
    mp__fault fault;
    cr_assert_eq(encode(&mp__type_mp_any, &whole, &fault), MP_OK);
    cr_assert(refused(&mp__type_mp_span_mp_any, &span, MP_ELIMIT, "[0]", "the mp_any nests more than 31 arrays and maps"));
    span.items = &one_less;
    cr_assert_eq(encode(&mp__type_mp_span_mp_any, &span, &fault), MP_OK);
    owner value = {.any = whole};
    cr_assert(refused(&mp__type_owner, &value, MP_ELIMIT, "any", "the mp_any nests more than 31 arrays and maps"));
    value.any = one_less;
    cr_assert_eq(encode(&mp__type_owner, &value, &fault), MP_OK);
}

CHECK(encode, faults__deep_in_a_value__have_the_path_and_the_offset)
{
    owner bad = {.any = {"\xc0", 1}, .last = {"\xff", 1}};
    owner owners[2] = {{.any = {"\xc0", 1}}, bad};
    nested children[3] = {{.owners = {owners, 1}}, {.owners = {owners, 1}}, {.owners = {owners, 2}}};
    tree value = {.id = 1, .children = {children, 3}};
    mp__fault fault;
    char text[200];
    cr_assert_eq(encode(&mp__type_tree, &value, &fault), MP_EENCODING);
    mp__fault_text(&fault, text, sizeof text);
    cr_assert_str_eq(text, "field 'children[2].owners[1].last': the text is not UTF-8: 0xff at its byte 0 (byte 151)");
}

CHECK(encode, buffer__without_memory__is_a_status)
{
    mp__buffer out = {0}, fixed = {.fixed = true};
    mp__fault fault;
    int32_t number = 1;
    fail_allocation(0);
    mp_status grown = mp__encode(&out, &mp__type_int32_t, &number, NULL, &fault);
    fail_no_allocation();
    cr_assert_eq(grown, MP_ENOMEM);
    cr_assert_str_eq(fault.message, "not enough memory");
    cr_assert_eq(mp__encode(&fixed, &mp__type_int32_t, &number, NULL, &fault), MP_ENOMEM);
    cr_assert_str_eq(fault.message, "the buffer is full");
}

CHECK(encode, buffer__with_something_in_it__is_appended_to)
{
    mp__buffer out = {0};
    mp__fault fault;
    int32_t number = 300;
    mp_str bad = {"\xff", 1};
    cr_assert_eq(mp__encode(&out, &mp__type_int32_t, &number, NULL, &fault), MP_OK);
    cr_assert_eq(mp__encode(&out, &mp__type_mp_str, &bad, NULL, &fault), MP_EENCODING);
    cr_assert_eq(fault.offset, 0, "counted from the value's beginning");
    cr_assert_eq(mp__encode(&out, &mp__type_int32_t, &number, NULL, &fault), MP_OK);
    cr_assert_eq(out.size, 6);
    cr_assert_arr_eq(out.data, "\xcd\x01\x2c\xcd\x01\x2c", 6);
    mp__buffer_fini(&out);
}

/* Whatever the room, it fits exactly when it is no larger, and what fails leaves nothing behind. */
CHECK(encode, fixed_buffer__of_every_size__takes_what_fits)
{
    static arena memory;
    chance c = {.state = 5, .most = 5, .arena = &memory};
    for (size_t t = 0; t < ALL_TYPES; t++) {
        any_value value;
        mp__buffer whole = {0};
        mp__fault fault;
        random_value(&c, all_types[t], &value);
        cr_assert_eq(mp__encode(&whole, all_types[t], &value, NULL, &fault), MP_OK);
        for (size_t capacity = 0; capacity <= whole.size + 1 && capacity < 600; capacity++) {
            uint8_t *bytes = malloc(capacity ? capacity : 1);
            mp__buffer fixed = {.data = bytes, .capacity = capacity, .fixed = true};
            mp_status status = mp__encode(&fixed, all_types[t], &value, NULL, &fault);
            cr_assert_eq(status, capacity < whole.size ? MP_ENOMEM : MP_OK, "%s: %zu of %zu", all_types[t]->name, capacity,
                         whole.size);
            cr_assert_eq(fixed.size, status == MP_OK ? whole.size : 0);
            cr_assert(status != MP_OK || memcmp(bytes, whole.data, whole.size) == 0);
            cr_assert(status == MP_OK || !strcmp(fault.message, "the buffer is full"));
            free(bytes);
        }
        mp__buffer_fini(&whole);
        arena_empty(&memory);
    }
}

CHECK(encode, failure__after_blobs__puts_the_blobs_back)
{
    static char large[MP__BLOB_MIN];
    mp_bytes bytes = {large, sizeof large};
    owner value = {.text = {large, sizeof large}, .any = {"\xc1", 1}};
    mp__buffer out = {0};
    mp__blobs blobs = {0};
    mp__fault fault;
    cr_assert_eq(mp__encode(&out, &mp__type_mp_bytes, &bytes, &blobs, &fault), MP_OK);
    cr_assert_eq(mp__encode(&out, &mp__type_owner, &value, &blobs, &fault), MP_EINVAL);
    cr_assert_eq(blobs.count, 1);
    cr_assert_eq(out.size, 10);
    mp__blobs_fini(&blobs);
    mp__buffer_fini(&out);
}

CHECK(encode, blobs__from_just_their_smallest_size_on__stand_out_of_line)
{
    static char large[MP__BLOB_MIN + 8];
    for (size_t size = MP__BLOB_MIN - 1; size <= MP__BLOB_MIN; size++) {
        mp_str text = {large, size};
        mp_span_int64_t span = {(int64_t *)(void *)large, size == MP__BLOB_MIN ? size / 8 : size / 8 - 1};
        mp__buffer out = {0};
        mp__blobs blobs = {0};
        mp__fault fault;
        memset(large, 0, sizeof large);
        cr_assert_eq(mp__encode(&out, &mp__type_mp_str, &text, &blobs, &fault), MP_OK);
        cr_assert_eq(mp__encode(&out, &mp__type_mp_bytes, &text, &blobs, &fault), MP_OK);
        cr_assert_eq(mp__encode(&out, &mp__type_mp_span_int64_t, &span, &blobs, &fault), MP_OK);
        cr_assert_eq(mp__encode(&out, &mp__type_mp_span_char, &text, &blobs, &fault), MP_OK);
        cr_assert_eq(blobs.count, size == MP__BLOB_MIN ? 4 : 0);
        mp__blobs_fini(&blobs);
        mp__buffer_fini(&out);
    }
}

CHECK(encode, fixed_arrays__however_large__stay_in_line)
{
    typedef struct {
        uint8_t all[MP__BLOB_MIN * 2];
    } big;
    static const mp_field fields[] = {{"all", 0, MP__BLOB_MIN * 2, &mp__type_uint8_t}};
    static const mp_type type = {sizeof(mp_type), MP__STRUCT, sizeof(big), 1, "big", 1, fields, NULL};
    static big value;
    mp__buffer out = {0};
    mp__blobs blobs = {0};
    mp__fault fault;
    cr_assert_eq(mp__encode(&out, &type, &value, &blobs, &fault), MP_OK);
    cr_assert_eq(blobs.count, 0);
    cr_assert_eq(out.size, 1 + 3 + sizeof value);
    mp__blobs_fini(&blobs);
    mp__buffer_fini(&out);
}

CHECK(encode, addresses__are_refused_by_name)
{
    const char *text =
        "an mp_ptr means nothing in another process: use a thread pool, or send the data (mp_bytes, MP_SPAN)";
    mp_ptr one = {&one};
    addresses value = {.one = one}, *all = &value;
    holder deep = {.all = {all, 1}}, none = {0};
    mp__fault fault;
    cr_assert_eq(encode(&mp__type_mp_ptr, &one, &fault), MP_ETYPE);
    cr_assert_str_eq(fault.message, text);
    cr_assert_eq(encode(&mp__type_holder, &deep, &fault), MP_ETYPE);
    cr_assert_str_eq(fault.message, text);
    cr_assert_str_eq(fault.path, "all[0].one");
    cr_assert_eq(encode(&mp__type_holder, &none, &fault), MP_OK, "there is none in it");
}
