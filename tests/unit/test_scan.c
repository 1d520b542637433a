/* The scan, against msgpack-c: what is whole, and how deep it may be. tests/fuzz/fuzz_scan.c goes further. */
#include "serial/scan.h"
#include "tests/lib/check.h"
#include "tests/unit/values.h"

TestSuite(scan, .timeout = 60);

static bool msgpack_c_reads(const uint8_t *bytes, size_t size, size_t *length)
{
    msgpack_unpacked result;
    msgpack_unpacked_init(&result);
    *length = 0;
    bool read = msgpack_unpack_next(&result, (const char *)bytes, size, length) == MSGPACK_UNPACK_SUCCESS;
    msgpack_unpacked_destroy(&result);
    return read;
}

static bool agrees(const uint8_t *bytes, size_t size)
{
    size_t ours = 0, theirs = 0;
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    bool whole = mp__scan(copy, size, &ours) == MP_OK, read = msgpack_c_reads(copy, size, &theirs);
    free(copy);
    return whole == read && (!whole || ours == theirs);
}

CHECK(scan, every_first_byte__with_zeros_behind_it__is_as_msgpack_c_says)
{
    for (unsigned first = 0; first < 256; first++) {
        uint8_t bytes[40] = {(uint8_t)first};
        for (size_t size = 0; size <= sizeof bytes; size++)
            cr_assert(agrees(bytes, size), "%02x, %zu", first, size);
        bytes[first >= 0xdc && first < 0xe0 ? 2 : 1] = 3;
        for (size_t size = 0; size <= sizeof bytes; size++)
            cr_assert(agrees(bytes, size), "%02x 03, %zu", first, size);
    }
}

CHECK(scan, random_values__whole_and_cut__are_as_msgpack_c_says)
{
    static arena memory;
    chance c = {.state = 66, .most = 10, .arena = &memory};
    for (size_t i = 0; i < 3000; i++) {
        mp_any any;
        size_t length;
        random_any(&c, &any);
        cr_assert_eq(mp__scan(any.data, any.size, &length), MP_OK);
        cr_assert_eq(length, any.size);
        cr_assert(agrees(any.data, below(&c, any.size)));
        arena_empty(&memory);
    }
}

CHECK(scan, depth__at_the_limit_and_over_it__is_as_msgpack_c_says)
{
    uint8_t bytes[80];
    size_t length;
    for (size_t depth = 30; depth <= 34; depth++) {
        memset(bytes, 0x91, depth);
        bytes[depth] = 0x05;
        cr_assert(agrees(bytes, depth + 1), "%zu", depth);
        bytes[depth - 1] = 0x90;
        cr_assert(agrees(bytes, depth), "%zu, the last one empty", depth);
    }
    memset(bytes, 0x91, 5);
    bytes[5] = 1;
    cr_assert_eq(mp__scan_within(bytes, 6, 5, &length), MP_OK);
    cr_assert_eq(mp__scan_within(bytes, 6, 4, &length), MP_ELIMIT);
    cr_assert_eq(mp__scan_within(bytes + 5, 1, 0, &length), MP_OK);
    cr_assert_eq(mp__scan_within(bytes + 4, 2, 0, &length), MP_ELIMIT);
}

CHECK(scan, counts__that_nobody_paid_for__are_not_whole)
{
    size_t length;
    static const char *const lies[] = {"dd ffffffff",       "df ffffffff 00",
                                       "c6 ffffffff",       "db ffffffff 61",
                                       "c9 ffffffff 01 02", "dd ffffffff dd ffffffff dd ffffffff",
                                       "df 80000000 01 02", "c1",
                                       "92 c1 01"};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        uint8_t bytes[64];
        size_t size = from_hex(lies[i], bytes);
        cr_assert_eq(mp__scan(bytes, size, &length), MP_EFORMAT, "%s", lies[i]);
    }
}

CHECK(scan, words__for_every_first_byte__are_what_msgpack_c_reads)
{
    static const char *const words[] = {"nil",      "a bool", "an integer", "an integer", "a float", "a text",
                                        "an array", "a map",  "bytes",      "an ext",     "a float"};
    for (unsigned first = 0; first < 256; first++) {
        uint8_t bytes[40] = {(uint8_t)first};
        msgpack_unpacked result;
        size_t offset = 0;
        msgpack_unpacked_init(&result);
        if (msgpack_unpack_next(&result, (char *)bytes, sizeof bytes, &offset) != MSGPACK_UNPACK_SUCCESS) {
            cr_assert_eq(first, 0xc1);
            continue;
        }
        msgpack_object_type type = result.data.type;
        size_t at = type == MSGPACK_OBJECT_FLOAT32 ? 10 : (size_t)type;
        cr_assert_str_eq(mp__scan_word((uint8_t)first), words[at], "%02x: type %d", first, (int)type);
        msgpack_unpacked_destroy(&result);
    }
}
