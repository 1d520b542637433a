/* msgpack for people. */
#include "serial/readable.h"
#include "tests/lib/check.h"
#include <msgpack.h>
#include <string.h>

TestSuite(readable, .timeout = 60);

static char text[4096];

static const char *read_bytes(const void *bytes, size_t size, size_t most)
{
    mp__sink sink = mp__sink_over(text, sizeof text);
    mp__readable(&sink, bytes, size, most);
    cr_assert(eq(sz, sink.length, strlen(text)));
    return text;
}

#define READS(packing, expected)                                                                                           \
    do {                                                                                                                   \
        msgpack_sbuffer buffer;                                                                                            \
        msgpack_packer to;                                                                                                 \
        msgpack_sbuffer_init(&buffer);                                                                                     \
        msgpack_packer_init(&to, &buffer, msgpack_sbuffer_write);                                                          \
        packing;                                                                                                           \
        cr_expect_str_eq(read_bytes(buffer.data, buffer.size, 1000), (expected));                                          \
        msgpack_sbuffer_destroy(&buffer);                                                                                  \
    } while (0)

CHECK(readable, integers__of_every_width__are_their_numbers)
{
    READS(msgpack_pack_int(&to, 0), "0");
    READS(msgpack_pack_int(&to, 127), "127");
    READS(msgpack_pack_int(&to, 128), "128");
    READS(msgpack_pack_int(&to, 65535), "65535");
    READS(msgpack_pack_int(&to, 65536), "65536");
    READS(msgpack_pack_uint64(&to, UINT64_MAX), "18446744073709551615");
    READS(msgpack_pack_int(&to, -1), "-1");
    READS(msgpack_pack_int(&to, -32), "-32");
    READS(msgpack_pack_int(&to, -33), "-33");
    READS(msgpack_pack_int(&to, -129), "-129");
    READS(msgpack_pack_int(&to, -32769), "-32769");
    READS(msgpack_pack_int64(&to, INT64_MIN), "-9223372036854775808");
}

CHECK(readable, floats__any__have_as_few_digits_as_tell_them)
{
    READS(msgpack_pack_double(&to, 0.1), "0.1");
    READS(msgpack_pack_float(&to, 0.1f), "0.1");
    READS(msgpack_pack_double(&to, -2.5), "-2.5");
    READS(msgpack_pack_double(&to, 1.0 / 3), "0.3333333333333333");
    READS(msgpack_pack_double(&to, 1e300), "1e+300");
    READS(msgpack_pack_double(&to, (double)INFINITY), "inf");
    READS(msgpack_pack_double(&to, (double)NAN), "nan");
}

CHECK(readable, other_values__any__read_as_they_are)
{
    READS(msgpack_pack_nil(&to), "nil");
    READS((msgpack_pack_array(&to, 2), msgpack_pack_true(&to), msgpack_pack_false(&to)), "[true, false]");
    READS(msgpack_pack_array(&to, 0), "[]");
    READS((msgpack_pack_map(&to, 2), msgpack_pack_int(&to, 1), msgpack_pack_int(&to, 2), msgpack_pack_int(&to, 3),
           msgpack_pack_nil(&to)),
          "{1: 2, 3: nil}");
    READS(msgpack_pack_str_with_body(&to, "caf\xc3\xa9 \"x\"\n\x01", 11), "\"caf\xc3\xa9 \\\"x\\\"\\n\\x01\"");
    READS(msgpack_pack_str_with_body(&to, "\xff\x9b", 2), "<no UTF-8, 2 bytes: ff 9b>");
    READS(msgpack_pack_bin_with_body(&to, "", 0), "<0 bytes>");
    READS(msgpack_pack_bin_with_body(&to, "\x01\xff", 2), "<2 bytes: 01 ff>");
    READS(msgpack_pack_bin_with_body(&to, "0123456789abcdefg", 17),
          "<17 bytes: 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 ...>");
    READS(msgpack_pack_ext_with_body(&to, "abc", 3, 5), "<ext, 3 bytes: 61 62 63>");
    READS(msgpack_pack_ext_with_body(&to, "abcd", 4, 5), "<ext, 4 bytes: 61 62 63 64>");
}

CHECK(readable, long_forms__any__read_like_short_ones)
{
    cr_expect_str_eq(read_bytes("\xda\x00\x01x", 4, 99), "\"x\"");
    cr_expect_str_eq(read_bytes("\xdb\x00\x00\x00\x01x", 6, 99), "\"x\"");
    cr_expect_str_eq(read_bytes("\xdc\x00\x01\x05", 4, 99), "[5]");
    cr_expect_str_eq(read_bytes("\xdd\x00\x00\x00\x01\x05", 6, 99), "[5]");
    cr_expect_str_eq(read_bytes("\xde\x00\x01\x05\x06", 5, 99), "{5: 6}");
    cr_expect_str_eq(read_bytes("\xdf\x00\x00\x00\x01\x05\x06", 7, 99), "{5: 6}");
    cr_expect_str_eq(read_bytes("\xc5\x00\x01z", 4, 99), "<1 byte: 7a>");
    cr_expect_str_eq(read_bytes("\xc8\x00\x01\x07z", 5, 99), "<ext, 1 byte: 7a>");
    cr_expect_str_eq(read_bytes("\xd4\x07z", 3, 99), "<ext, 1 byte: 7a>");
}

CHECK(readable, what_is_too_long__any__ends_with_dots)
{
    cr_expect_str_eq(read_bytes("\x93\x01\x02\x03", 4, 4), "[1, ...");
    cr_expect_str_eq(read_bytes("\xa8zzzzzzzz", 9, 4), "\"zzz...");
    cr_expect_str_eq(read_bytes("\x92\xa8zzzzzzzz\x01", 11, 4), "[\"zz...");
}

CHECK(readable, bytes_that_are_no_value__any__are_said_to_be)
{
    cr_expect_str_eq(read_bytes("\x93\x01", 2, 99), "<2 bytes that are no msgpack value>");
    cr_expect_str_eq(read_bytes("", 0, 99), "<0 bytes that are no msgpack value>");
    cr_expect_str_eq(read_bytes("\x01\x02", 2, 99), "<2 bytes that are no msgpack value>");
    cr_expect_str_eq(read_bytes("\xc1", 1, 99), "<1 bytes that are no msgpack value>");
}

CHECK(readable, random_values__any_room__stay_in_it)
{
    uint8_t bytes[64];
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
        size_t room = seed >> 8 & 63;
        char few[64];
        memset(few, 'x', sizeof few);
        mp__sink sink = mp__sink_over(few, room);
        size_t length = 1 + (seed >> 20 & 31);
        mp__readable(&sink, bytes, length, 1000);
        if (room > 0)
            cr_assert_leq(strlen(few), room - 1);
        for (size_t i = room; i < sizeof few; i++)
            cr_assert_eq(few[i], 'x');
    }
}
