/* Values of described types to and from msgpack. FORMAT.md says every choice. The typed path is our own, byte for byte what
 * msgpack-c writes; it exists because msgpack-c builds a tree of objects where we know the type.
 *
 * Decoding walks the bytes twice: first everything is checked and the memory it needs is summed, then, if nothing is wrong,
 * the value is filled. So nothing is allocated for a lie, and the second walk cannot fail. */
#ifndef MP__SERIAL_CODEC_H
#define MP__SERIAL_CODEC_H
#include "serial/buffer.h"
#include "serial/fault.h"
#include "serial/frame.h"
#include <millpond/type.h>

/* Appends the msgpack of `value` to `out`; large parts go to `blobs` (in the control part stands an ext of type 1 with their
 * size), or in line when `blobs` is NULL (then what is over 2^32 - 1 bytes is MP_ELIMIT). Statuses as mp__frame_write; on
 * failure `out` and `blobs` are as before. */
mp_status mp__encode(mp__buffer *out, const mp_type *type, const void *value, mp__blobs *blobs, mp__fault *fault);

/* Decodes a result into `value` (`type->size` bytes, any content). What it points to is in blocks that it owns
 * (mp_free_values); blobs are not copied: the frame's block is taken from the reader. On failure `value` is zeroed and owns
 * nothing: MP_ETYPE, MP_ERANGE, MP_EENCODING, MP_EFORMAT, MP_ELIMIT, MP_ENOMEM. */
mp_status mp__decode_result(const mp_type *type, mp__frame *frame, void *value, mp__fault *fault);

/* The same for a task's input: what it points to lives in `scratch`, which is emptied first and grows as needed, or in the
 * frame; it is good until either is used again. */
mp_status mp__decode_input(const mp_type *type, mp__frame *frame, void *value, mp__buffer *scratch, mp__fault *fault);

/* Walks one msgpack value without memory: MP_OK and its length, or MP_EFORMAT (cut short, 0xc1) or MP_ELIMIT (depth). */
mp_status mp__scan(const uint8_t *bytes, size_t size, size_t *length);

/* True if these are UTF-8: no surrogates, no overlong forms, nothing over U+10FFFF. Else `*bad` is where the first sequence
 * begins that is not. */
bool mp__utf8_valid(const char *text, size_t size, size_t *bad);

#endif
