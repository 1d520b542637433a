/* Frames: how values and messages follow each other in a stream of bytes. FORMAT.md, section "Frames".
 *
 * A frame is a header and a payload. Short header, 4 bytes, little-endian: kind (low 4 bits) and payload size (28 bits).
 * Long header, 20 bytes: kind with the 28 bits all ones, then u64 payload size, u64 control size. The payload of a short
 * frame is all control part: one msgpack value. A long frame's payload goes on behind its control part with blobs: each
 * begins at the next multiple of 64 that leaves at least 9 bytes behind what came before it (room for a zero that ends a
 * text, and for the 8 bytes with which a block finds its owner), counted from the payload's start; gaps are zero when sent.
 *
 * No threads, no descriptors: bytes in, bytes out. */
#ifndef MP__SERIAL_FRAME_H
#define MP__SERIAL_FRAME_H
#include "serial/block.h"
#include "serial/buffer.h"
#include "serial/fault.h"
#include <millpond/type.h>
#include <string.h>

enum {
    MP__FRAME_SHORT = 4,
    MP__FRAME_LONG = 20,
    MP__BLOB_ALIGN = 64,
    MP__BLOB_GAP = 9,
    MP__BLOB_MIN = 16 * 1024, /* texts, bytes, anys and numeric spans of at least this many bytes travel as blobs */
    MP__FRAME_BUFFER = 64 * 1024,
    MP__SIZE_IS_LONG = 0x0fffffff /* in a short header's 28 bits: the long header follows */
};

/* Where a blob begins, after what ends at `end`. */
static inline size_t mp__blob_begin(size_t end)
{
    return (end + MP__BLOB_GAP + MP__BLOB_ALIGN - 1) / MP__BLOB_ALIGN * MP__BLOB_ALIGN;
}

/* A blob of a frame being written: memory of the value's owner, borrowed until it has been written to the stream. */
typedef struct mp__blob {
    const void *data;
    size_t size;
    size_t offset; /* from the payload's start; set by mp__frame_write, which knows where the control part ends */
} mp__blob;

typedef struct mp__blobs {
    mp__blob *items;
    size_t count, capacity;
} mp__blobs;
void mp__blobs_fini(mp__blobs *blobs);

/* Appends a frame of `kind` (0 to 15) with `value` of `type` to `out`: header and control part. Its blobs are appended to
 * `blobs` (`blobs->count` is 0 for almost all values); the caller writes the gaps (zeros) and the blobs behind the control
 * part. On failure `out` and `blobs` are as before, and it is MP_ENOMEM (a fixed `out` is full, or no memory: tell them
 * apart by out->fixed), MP_EENCODING, MP_EINVAL (NULL with a count, a bool that is neither 0 nor 1, an mp_any that is not
 * one msgpack value), MP_ELIMIT (depth, size). */
mp_status mp__frame_write(mp__buffer *out, unsigned kind, const mp_type *type, const void *value, mp__blobs *blobs,
                          mp__fault *fault);

/* Appends a frame whose control part is these very bytes. False as mp__buffer_reserve. */
bool mp__frame_write_raw(mp__buffer *out, unsigned kind, const void *bytes, size_t size);

/* A frame's payload in the block it has for itself. */
static inline uint8_t *mp__block_payload(mp__block *block)
{
    return (uint8_t *)block + MP__BLOB_ALIGN;
}

/* A whole frame that was read. */
typedef struct mp__frame {
    unsigned kind;
    size_t size, control;
    const uint8_t *data; /* payload; borrowed until the next call on the reader. 64-byte aligned when `block` is there */
    mp__block *block;    /* of a frame with a long header, or too large for the buffer: the reader's, freed at its next
                            call, unless mp__decode_result takes it out of the reader */
    size_t row;          /* bytes: it is a value of a row, and stands as in memory; 0: it is msgpack (row.h) */
    struct mp__frame_reader *reader;
} mp__frame;

/* Puts frames together out of pieces of any size.
 *
 *     SMALL ----> LARGE ----> GAVE_LARGE ----> SMALL      a large frame was announced; was given out; was let go
 *       `-------> PASSED_OVER -------------------^        there was no memory for it; all of it has come */
typedef enum mp__reader_state {
    MP__READER_SMALL,
    MP__READER_LARGE,
    MP__READER_GAVE_LARGE,
    MP__READER_PASSED_OVER
} mp__reader_state;

typedef struct mp__frame_reader {
    uint8_t *buffer; /* MP__FRAME_BUFFER bytes; NULL until first needed */
    size_t begin, end;
    mp__reader_state state;
    mp__block *block; /* of a large frame: being filled, or given out last and not taken */
    mp__frame large;  /* its header; or that of one that is passed over */
    size_t filled;    /* bytes of its payload that have come */
    uint64_t limit;   /* largest payload that is accepted */
    uint32_t kinds;   /* bit k: frames of kind k are accepted */
    mp_status status; /* sticky: MP_EFORMAT, MP_ELIMIT, MP_ENOMEM, but for mp__frame_reader_pass_over; MP_EINVAL: misuse */
} mp__frame_reader;

void mp__frame_reader_init(mp__frame_reader *reader, uint32_t kinds, uint64_t limit);
void mp__frame_reader_fini(mp__frame_reader *reader);

/* Where the next bytes of the stream must be put, and how many fit: never 0, never more than the rest of a large frame.
 * Invalidates the last frame. First take all frames that are there: where a full buffer of them leaves no room, the call is
 * misuse. False: the reader is broken, see `status`. */
bool mp__frame_reader_space(mp__frame_reader *reader, uint8_t **where, size_t *room);
/* So many bytes were put there. */
void mp__frame_reader_filled(mp__frame_reader *reader, size_t bytes);

/* The next whole frame. False: more bytes are needed, or the reader is broken (`status` != MP_OK): a kind that is not
 * accepted, a size over the limit (checked before memory is taken), a control part larger than the payload. */
bool mp__frame_reader_next(mp__frame_reader *reader, mp__frame *frame);

/* What is broken for want of memory for a large frame goes on behind it: the frame is lost, and what has come of it, and will, is thrown
 * away. Its kind, size and control are in `*frame`. False: it was not that, and stays as it is. */
bool mp__frame_reader_pass_over(mp__frame_reader *reader, mp__frame *frame);

/* More frames of the kind of a small one that was the last to be given out: how many follow it without a gap, `most` at most. They
 * count as given out; mp__frame_follow goes from one to the next. */
size_t mp__frame_reader_more(mp__frame_reader *reader, const mp__frame *frame, size_t most);

static inline void mp__frame_follow(mp__frame *frame)
{
    uint32_t header;
    const uint8_t *next = frame->data + frame->size;
    if (frame->row) {
        frame->data = next;
        return;
    }
    memcpy(&header, next, sizeof header);
    frame->data = next + MP__FRAME_SHORT;
    frame->size = frame->control = header >> 4;
}

/* True if the stream may end here: no frame is half read. */
bool mp__frame_reader_whole(const mp__frame_reader *reader);

#endif
