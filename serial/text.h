/* Texts in arrays of fixed size. */
#ifndef MP__SERIAL_TEXT_H
#define MP__SERIAL_TEXT_H
#include <stdarg.h>
#include <stddef.h>

/* How many of the first `room` bytes of a longer text are whole UTF-8 characters. */
size_t mp__text_whole(const char *text, size_t room);

/* vsnprintf(3) that cuts at a whole character. */
void mp__text_format(char *text, size_t size, const char *format, va_list arguments) __attribute__((format(printf, 3, 0)));

/* A text that is put together piece by piece: as snprintf(3), `length` counts also what no longer fits, and what is in `text` ends
 * with a zero. */
typedef struct mp__sink {
    char *text;
    size_t size, length;
} mp__sink;
mp__sink mp__sink_over(char *text, size_t size);
void mp__sink_bytes(mp__sink *sink, const char *bytes, size_t count);
void mp__sink_print(mp__sink *sink, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
