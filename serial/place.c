/* Where decoded data goes: pieces of the frame, blobs, and memory for them.
 *
 * Decides how much memory a decoding may take, and the layout of it: each datum is aligned to what its elements need, at
 * least to 8, behind a word that points to its block. Owns the block it makes until decode.c gives it to the value. One
 * thread for one decoder, no lock. Happy path for small data: the first walk counts, one block is made, the second walk
 * copies in the same order. Blobs of a frame that has a block of its own are not copied: the gaps in front of them have room
 * for the word, and those behind them for a text's zero. A blob's place is not sent but follows from the sizes, so one that
 * lies about them can only fail to add up. It fails for pieces that are cut short, blobs that leave the payload, and more
 * memory than the limit. */
#include "serial/decoder.h"

const uint8_t *mp__decoder_cut_short(mp__decoder *d, const uint8_t *p)
{
    return mp__decoder_fail(d, p, MP_EFORMAT, "the bytes end within the value");
}

/* The bytes that a length claims, if they are there. */
static const uint8_t *take_bytes(mp__decoder *d, const uint8_t *p, size_t head, size_t size, mp__piece *piece)
{
    if (size > mp__decoder_left(d, p) - head)
        return mp__decoder_cut_short(d, p);
    *piece = (mp__piece){.data = p + head, .size = size};
    return p + head + size;
}

const uint8_t *mp__decode_piece(mp__decoder *d, const uint8_t *p, uint8_t first, const char *expected, mp__piece *piece)
{
    size_t left = mp__decoder_left(d, p);
    if (left > 0 && first == MP__WIRE_STR8 && *p >= MP__WIRE_FIXSTR && *p < MP__WIRE_NIL)
        return take_bytes(d, p, 1, *p & 0x1f, piece);
    if (left == 0 || *p < first || *p > first + 2)
        return mp__decoder_unexpected(d, p, expected);
    size_t width = (size_t)1 << (*p - first);
    if (left < 1 + width)
        return mp__decoder_cut_short(d, p);
    return take_bytes(d, p, 1 + width, (size_t)mp__load_be(p + 1, width), piece);
}

const uint8_t *mp__decode_blob(mp__decoder *d, const uint8_t *p, mp__piece *piece)
{
    const mp__frame *frame = d->frame;
    uint64_t size = mp__load_le64(p + 2);
    if (size == 0)
        return mp__decoder_fail(d, p, MP_EFORMAT, "a blob of no bytes");
    size_t begin = mp__blob_begin(d->blob_end);
    if (begin > frame->size || size > frame->size - begin)
        return mp__decoder_fail(d, p, MP_EFORMAT, "the payload ends within the blob");
    *piece = (mp__piece){.data = frame->data + begin, .size = (size_t)size, .offset = begin, .blob = true};
    d->blob_end = begin + (size_t)size;
    d->blobs++;
    return p + MP__BLOB_REF;
}

bool mp__decoder_take(mp__decoder *d, const uint8_t *p, size_t size, size_t align, uint8_t **datum)
{
    size_t begin;
    if (!mp__layout_take(&d->layout, size, align, &begin)) {
        (void)mp__decoder_fail(d, p, MP_ELIMIT, "the value would take more than %zu bytes of memory", d->layout.limit);
        return false;
    }
    *datum = d->second ? d->memory + begin : NULL;
    if (*datum)
        mp__block_put_word(*datum, d->owner);
    return true;
}

static uint8_t *place_in_frame(mp__decoder *d, const mp__piece *piece, bool zero)
{
    if (!d->second)
        return NULL;
    uint8_t *datum = mp__block_payload(d->frame->block) + piece->offset;
    mp__block_put_word(datum, d->owner);
    if (zero)
        datum[piece->size] = 0;
    return datum;
}

bool mp__decoder_place(mp__decoder *d, const uint8_t *p, const mp__piece *piece, size_t align, bool zero, uint8_t **datum)
{
    if (piece->blob && d->frame->block) {
        *datum = place_in_frame(d, piece, zero);
        return true;
    }
    if (!mp__decoder_take(d, p, piece->size + zero, align, datum))
        return false;
    if (*datum) {
        memcpy(*datum, piece->data, piece->size);
        if (zero)
            (*datum)[piece->size] = 0;
    }
    return true;
}

bool mp__decoder_own_memory(mp__decoder *d)
{
    d->owner = mp__block_create(&d->layout);
    d->memory = (uint8_t *)d->owner;
    return d->owner;
}

bool mp__decoder_lend_memory(mp__decoder *d, mp__buffer *scratch)
{
    scratch->size = 0;
    size_t align = d->layout.align;
    if (!mp__buffer_reserve(scratch, d->layout.used + align))
        return false;
    uintptr_t start = (uintptr_t)scratch->data, aligned = (start + align - 1) & ~(uintptr_t)(align - 1);
    d->memory = scratch->data + (aligned - start);
    d->owner = NULL;
    return true;
}
