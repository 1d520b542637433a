/* Texts in arrays of fixed size: what does not fit is cut, at a whole character. Any thread, no state, no memory. Texts that are
 * not UTF-8 are cut somewhere. */
#include "serial/text.h"
#include <stdint.h>
#include <stdio.h>
#include <string.h>

size_t mp__text_whole(const char *text, size_t room)
{
    size_t cut = room;
    while (cut > 0 && ((uint8_t)text[cut] & 0xc0) == 0x80)
        cut--;
    return cut;
}

/* The length of the character that the byte begins; 1 for what begins none. */
static size_t character_length(uint8_t first)
{
    return first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
}

void mp__text_format(char *text, size_t size, const char *format, va_list arguments)
{
    int length = vsnprintf(text, size, format, arguments);
    if (length < 0 || (size_t)length < size)
        return;
    size_t last = mp__text_whole(text, size - 2); /* where the last character begins: it may have lost its end */
    if (last + character_length((uint8_t)text[last]) > size - 1)
        text[last] = 0;
}
