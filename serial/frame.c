/* The writer of frames.
 *
 * Decides between the short and the long header: short where it can be, for almost all frames are a few bytes. Owns nothing;
 * writes behind `out->size`, which moves only when all has succeeded. One thread per buffer, no lock. Happy path: leave four
 * bytes, encode behind them, fill them in. Only when the value turns out to have blobs, or to be enormous, is the control
 * part moved to make room for the long header. It fails as the encoder does, and when that room cannot be had; out and blobs
 * are then as before. */
#include "serial/frame.h"
#include "serial/codec.h"
#include "serial/quick.h"
#include "serial/wire.h"

static void store_long(uint8_t *at, unsigned kind, uint64_t payload, uint64_t control)
{
    mp__frame_store_short(at, kind, MP__SIZE_IS_LONG);
    memcpy(at + MP__FRAME_SHORT, &payload, sizeof payload);
    memcpy(at + MP__FRAME_SHORT + sizeof payload, &control, sizeof control);
}

/* Gives each blob its place behind the control part, and returns the payload's size. The encoder has seen to it that the
 * sizes add up to no more than MP_ITEM_SIZE_MAX, so neither gaps nor sum can overflow. */
static size_t lay_out(mp__blobs *blobs, size_t first, size_t control)
{
    size_t end = control;
    for (size_t i = first; i < blobs->count; i++) {
        blobs->items[i].offset = mp__blob_begin(end);
        end = blobs->items[i].offset + blobs->items[i].size;
    }
    return end;
}

/* The control part stands behind a short header at `begin`: a long one takes its place. */
static mp_status make_long(mp__buffer *out, size_t begin, unsigned kind, size_t payload, size_t control, mp__fault *fault)
{
    const size_t more = MP__FRAME_LONG - MP__FRAME_SHORT;
    if (payload > MP_ITEM_SIZE_MAX)
        return mp__fault_set(fault, MP_ELIMIT, 0, "the value has more than MP_ITEM_SIZE_MAX bytes");
    if (!mp__buffer_reserve(out, more))
        return mp__fault_set(fault, MP_ENOMEM, 0, out->fixed ? "the buffer is full" : "not enough memory");
    uint8_t *at = out->data + begin;
    memmove(at + MP__FRAME_LONG, at + MP__FRAME_SHORT, control);
    store_long(at, kind, payload, control);
    out->size += more;
    return MP_OK;
}

static mp_status write_payload(mp__buffer *out, unsigned kind, const mp_type *type, const void *value, mp__blobs *blobs,
                               mp__fault *fault)
{
    size_t begin = out->size - MP__FRAME_SHORT, blobs_before = blobs ? blobs->count : 0;
    mp_status status = mp__encode(out, type, value, blobs, fault);
    if (status != MP_OK)
        return status;
    size_t control = out->size - begin - MP__FRAME_SHORT;
    bool has_blobs = blobs && blobs->count > blobs_before;
    if (!has_blobs && control < MP__SIZE_IS_LONG) {
        mp__frame_store_short(out->data + begin, kind, control);
        return MP_OK;
    }
    size_t payload = has_blobs ? lay_out(blobs, blobs_before, control) : control;
    status = make_long(out, begin, kind, payload, control, fault);
    if (status != MP_OK && blobs)
        blobs->count = blobs_before;
    return status;
}

mp_status mp__frame_write(mp__buffer *out, unsigned kind, const mp_type *type, const void *value, mp__blobs *blobs,
                          mp__fault *fault)
{
    size_t before = out->size;
    fault->status = MP_OK;
    if (mp__frame_write_quickly(out, kind, type, value))
        return MP_OK;
    if (!mp__buffer_reserve(out, MP__FRAME_SHORT))
        return mp__fault_set(fault, MP_ENOMEM, 0, out->fixed ? "the buffer is full" : "not enough memory");
    out->size += MP__FRAME_SHORT;
    mp_status status = write_payload(out, kind, type, value, blobs, fault);
    if (status != MP_OK)
        out->size = before;
    return status;
}

bool mp__frame_write_raw(mp__buffer *out, unsigned kind, const void *bytes, size_t size)
{
    size_t header = size < MP__SIZE_IS_LONG ? MP__FRAME_SHORT : MP__FRAME_LONG;
    if (size > PTRDIFF_MAX - header || !mp__buffer_reserve(out, header + size))
        return false;
    uint8_t *at = out->data + out->size;
    if (header == MP__FRAME_SHORT)
        mp__frame_store_short(at, kind, size);
    else
        store_long(at, kind, size, size);
    if (size > 0)
        memcpy(at + header, bytes, size);
    out->size += header + size;
    return true;
}
