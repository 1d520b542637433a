/* UTF-8: every character, and everything that is none. */
#include "serial/codec.h"
#include "tests/lib/check.h"
#include <stdlib.h>
#include <string.h>

TestSuite(utf8, .timeout = 60);

/* The textbook's way: decode by the first byte's promise, then look whether it was the shortest way to say so. */
static size_t textbook(const uint8_t *at, size_t left)
{
    if (at[0] < 0x80)
        return 1;
    size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (at[0] < 0xc0 || at[0] >= 0xf8 || length > left)
        return 0;
    uint32_t code = at[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (at[i] & 0x3fu);
    }
    bool good = code >= smallest[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return good ? length : 0;
}

static bool agrees(const uint8_t *text, size_t size)
{
    size_t at = 0, bad = SIZE_MAX;
    for (size_t length; at < size; at += length)
        if (!(length = textbook(text + at, size - at)))
            break;
    uint8_t *copy = calloc(1, size ? size : 1); /* as large as the text, so that a read behind it is found */
    memcpy(copy, text, size);
    bool valid = mp__utf8_valid((const char *)copy, size, &bad);
    free(copy);
    return at == size ? valid : !valid && bad == at;
}

CHECK(utf8, three_bytes_of_every_kind__are_as_the_textbook_says)
{
    for (unsigned first = 0; first < 256; first++)
        for (unsigned second = 0; second < 256; second += second < 0x7e || second > 0xc1 ? 13 : 1)
            for (unsigned third = 0x7f; third <= 0xc0; third++) {
                uint8_t text[4] = {(uint8_t)first, (uint8_t)second, (uint8_t)third, 0x80};
                cr_assert(agrees(text, 4) && agrees(text, 3) && agrees(text, 2) && agrees(text, 1), "%02x %02x %02x", first,
                          second, third);
            }
}

CHECK(utf8, a_wrong_byte__at_every_place__is_found_there)
{
    char text[100];
    for (size_t size = 1; size < sizeof text; size++) {
        memset(text, 'a', sizeof text);
        cr_assert(agrees((uint8_t *)text, size));
        for (size_t at = 0; at < size; at++) {
            text[at] = (char)0xff;
            cr_assert(agrees((uint8_t *)text, size));
            text[at] = (char)0xc3;
            cr_assert(agrees((uint8_t *)text, size));
            text[at] = 'a';
        }
    }
}

CHECK(utf8, texts_of_all_lengths_mixed__are_valid)
{
    static const char text[] =
        "plain ASCII of some length, \xc3\xa9t\xc3\xa9, \xe2\x82\xac, \xef\xbf\xbf, \xf4\x8f\xbf\xbf, and more ASCII";
    for (size_t begin = 0; begin < sizeof text; begin++)
        for (size_t size = 0; size < sizeof text - begin; size++)
            cr_assert(agrees((const uint8_t *)text + begin, size));
}

CHECK(utf8, nothing__is_valid)
{
    size_t bad;
    cr_assert(mp__utf8_valid(NULL, 0, &bad));
}
