/* A fault: why a value could not be encoded or decoded, and which field of it. The codec's sticky error. */
#ifndef MP__SERIAL_FAULT_H
#define MP__SERIAL_FAULT_H
#include <millpond/error.h>
#include <millpond/status.h>
#include <stddef.h>
#include <stdint.h>

#define MP__NO_OFFSET SIZE_MAX /* a fault of a type, not of bytes */

typedef struct mp__fault {
    mp_status status; /* MP_OK: none, and nothing else is set */
    size_t offset;    /* decoding: of the byte in the payload where the value stands; encoding: of the byte to be written */
    char path[120];   /* "corners[3].x"; "" for the value itself; cut in front when too long */
    char message[200]; /* "300 does not fit int8" */
} mp__fault;

/* Records a fault where none is yet; returns `status`. */
mp_status mp__fault_set(mp__fault *fault, mp_status status, size_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* On the way out of a recursion: puts "name" or "[index]" in front of the path. */
void mp__fault_in_field(mp__fault *fault, const char *name);
void mp__fault_in_element(mp__fault *fault, size_t index);

/* "field 'corners[3].x': 300 does not fit int8 (byte 17)": the sentence for mp_error.message. */
void mp__fault_text(const mp__fault *fault, char *text, size_t size);

#endif
