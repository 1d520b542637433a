/* Is this UTF-8? By the table of well-formed sequences of the Unicode standard (3.9, table 3-7): no surrogates, no overlong
 * forms, nothing over U+10FFFF.
 *
 * Decides yes or no, and where the first wrong sequence begins. Owns nothing, allocates nothing; any thread, no lock. Happy
 * path: eight bytes of ASCII at a time, for most texts are nothing else. All input is input, not truth: a sequence that is
 * cut off by the end is wrong, and nothing is read behind `size`. */
#include "serial/codec.h"
#include <string.h>

/* The length of the well-formed sequence that begins here; 0: there is none. The second byte's range depends on the first:
 * that is what keeps out overlong forms (e0, f0), surrogates (ed) and what is over U+10FFFF (f4). */
static size_t sequence(const uint8_t *at, size_t left)
{
    uint8_t first = at[0], low = 0x80, high = 0xbf;
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first < 0xc2 || first > 0xf4 || length > left)
        return 0;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

static size_t skip_ascii(const uint8_t *text, size_t size, size_t at)
{
    for (uint64_t eight; size - at >= sizeof eight; at += sizeof eight) {
        memcpy(&eight, text + at, sizeof eight);
        if (eight & 0x8080808080808080u)
            break;
    }
    while (at < size && text[at] < 0x80)
        at++;
    return at;
}

bool mp__utf8_valid(const char *text, size_t size, size_t *bad)
{
    const uint8_t *bytes = (const uint8_t *)text;
    for (size_t at = skip_ascii(bytes, size, 0); at < size; at = bytes[at] < 0x80 ? skip_ascii(bytes, size, at) : at) {
        size_t length = sequence(bytes + at, size - at);
        if (!length) {
            *bad = at;
            return false;
        }
        at += length;
        if (at == size)
            break;
    }
    return true;
}
