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

/* Bytes that still fit, beside the zero. */
static size_t sink_room(const mp__sink *sink)
{
    return sink->length + 1 < sink->size ? sink->size - 1 - sink->length : 0;
}

mp__sink mp__sink_over(char *text, size_t size)
{
    if (size > 0)
        text[0] = 0;
    return (mp__sink){text, size, 0};
}

void mp__sink_bytes(mp__sink *sink, const char *bytes, size_t count)
{
    size_t room = sink_room(sink), kept = count <= room ? count : mp__text_whole(bytes, room);
    if (room > 0) {
        memcpy(sink->text + sink->length, bytes, kept);
        sink->text[sink->length + kept] = 0;
    }
    sink->length += count;
}

void mp__sink_print(mp__sink *sink, const char *format, ...)
{
    size_t room = sink_room(sink);
    char *at = room > 0 ? sink->text + sink->length : NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(at, room > 0 ? room + 1 : 0, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    if (room > 0 && (size_t)length > room)
        at[mp__text_whole(at, room)] = 0; /* may lose one character more than it must */
    sink->length += (size_t)length;
}
