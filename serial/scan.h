/* Walking msgpack without a type: what an mp_any needs, and what messages say about a byte. */
#ifndef MP__SERIAL_SCAN_H
#define MP__SERIAL_SCAN_H
#include <millpond/status.h>
#include <stddef.h>
#include <stdint.h>

/* mp__scan, for a value that may nest no more than `depth` arrays and maps (at most MP_DEPTH_MAX). */
mp_status mp__scan_within(const uint8_t *bytes, size_t size, size_t depth, size_t *length);

/* What a value that begins with this byte is: "an integer", "an array". Borrowed for ever. */
const char *mp__scan_word(uint8_t first);

#endif
