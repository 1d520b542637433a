/* The decoder's state, and the parts of it that number.c and place.c carry out. Nothing outside the decoder includes this.
 *
 * A decoding is one or two walks over the bytes. The first checks everything and sums up the memory that is needed; it also
 * stores what needs none, so for values that own nothing it is the only one. The second is the same walk with memory to put
 * things in. In both, the cursor `p` goes in and comes out, moved behind what was read; NULL: failed, and the fault is set.
 * `to` is where a value is stored; NULL in the first walk for elements of a span, which have no place yet. */
#ifndef MP__SERIAL_DECODER_H
#define MP__SERIAL_DECODER_H
#include "serial/codec.h"
#include "serial/types.h"
#include "serial/wire.h"

typedef struct mp__decoder {
    const mp__frame *frame;
    const uint8_t *end; /* of the control part */
    size_t blob_end; /* where the last blob ends, counted from the payload's start; before the first: the control part's */
    size_t blobs;    /* that were met in this walk */
    mp__layout layout; /* of the memory: what is taken so far in this walk */
    bool second;       /* this is the second walk: what is read was checked before, and there is memory */
    uint8_t *memory;   /* in the second walk, if any was counted in the first */
    mp__block *owner;  /* what the word before each datum points to; NULL: values are borrowed */
    mp__fault *fault;
} mp__decoder;

#define mp__decoder_fail(d, p, status, ...)                                                                                \
    ((void)mp__fault_set((d)->fault, (status), (size_t)((p) - (d)->frame->data), __VA_ARGS__), (const uint8_t *)NULL)

static inline size_t mp__decoder_left(const mp__decoder *d, const uint8_t *p)
{
    return (size_t)(d->end - p);
}

/* "expected int32, got an array", or that nothing is there. */
const uint8_t *mp__decoder_unexpected(mp__decoder *d, const uint8_t *p, const char *expected);
const uint8_t *mp__decoder_cut_short(mp__decoder *d, const uint8_t *p);

/* One number of any form that fits `type`. */
const uint8_t *mp__decode_number(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to);

/* The bytes of a text, of bytes, of an any or of an array of numbers; where they are. */
typedef struct mp__piece {
    const uint8_t *data;
    size_t size;
    size_t offset; /* in the payload, when it is a blob */
    bool blob;
} mp__piece;

/* Reads the head of a str (`first` is MP__WIRE_STR8) or bin (MP__WIRE_BIN8). The cursor comes out behind the bytes. */
const uint8_t *mp__decode_piece(mp__decoder *d, const uint8_t *p, uint8_t first, const char *expected, mp__piece *piece);

/* The same for a reference to a blob: the next blob of the frame. */
static inline bool mp__decoder_at_blob(const mp__decoder *d, const uint8_t *p)
{
    return mp__decoder_left(d, p) >= MP__BLOB_REF && p[0] == MP__WIRE_FIXEXT8 && p[1] == MP__BLOB_EXT_TYPE;
}
const uint8_t *mp__decode_blob(mp__decoder *d, const uint8_t *p, mp__piece *piece);

/* Takes memory for a datum. In the first walk it only counts, and `*datum` is NULL. False: over the limit. */
bool mp__decoder_take(mp__decoder *d, const uint8_t *p, size_t size, size_t align, uint8_t **datum);

/* Gives a piece its place: where it lies in the frame, or copied; `zero`: with a zero after its last byte. */
bool mp__decoder_place(mp__decoder *d, const uint8_t *p, const mp__piece *piece, size_t align, bool zero, uint8_t **datum);

/* The memory of one decoding: what the first walk asked for. False: none to be had. */
bool mp__decoder_own_memory(mp__decoder *d);
bool mp__decoder_lend_memory(mp__decoder *d, mp__buffer *scratch);

#endif
