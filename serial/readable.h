/* msgpack for people. */
#ifndef MP__SERIAL_READABLE_H
#define MP__SERIAL_READABLE_H
#include "serial/text.h"
#include <stdint.h>

/* Writes one value as a text on one line: [17, -2.5, "caf\u00e9", true, nil, {"a": 1}, <12 bytes: 00 01 02 ...>]. Bytes that are
 * no whole value give a text that says so. Stops, with "...", soon after `most` bytes of text. */
void mp__readable(mp__sink *sink, const uint8_t *bytes, size_t size, size_t most);

#endif
