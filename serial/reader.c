/* The reader of frames: pieces of a stream of any size in, whole frames out.
 *
 * Decides where the next bytes go: into a buffer of MP__FRAME_BUFFER bytes, where small frames are given out in place; or,
 * when the header announces a long frame or one that the buffer cannot hold, into a block of its own, so that its blobs are
 * aligned and need not be copied. Owns the buffer and that block, unless a result has taken it. One thread, no lock. Happy
 * path: space, read(2), filled, next until it says no. It fails, for good, on a kind that is not accepted, a size over the
 * limit (held against it before memory is taken) and a control part larger than the payload; and without memory, but a frame
 * that is too large for what there is can be passed over. Invariant: a frame whose block is being filled, or that is passed
 * over, has nothing in the buffer. */
#include "serial/frame.h"
#include "serial/memory.h"
#include "serial/wire.h"

void mp__frame_reader_init(mp__frame_reader *reader, uint32_t kinds, uint64_t limit)
{
    *reader = (mp__frame_reader){.kinds = kinds, .limit = limit, .status = MP_OK};
}

void mp__frame_reader_fini(mp__frame_reader *reader)
{
    free(reader->buffer);
    if (reader->block)
        reader->block->keeps = false; /* that a frame of this size was announced does not mean that there will be others */
    mp__block_free(reader->block);
    *reader = (mp__frame_reader){.status = MP_EINVAL};
}

static bool fail(mp__frame_reader *reader, mp_status status)
{
    reader->status = status;
    return false;
}

/* Forgets the large frame that was given out last. */
static void let_go(mp__frame_reader *reader)
{
    if (reader->state != MP__READER_GAVE_LARGE)
        return;
    mp__block_free(reader->block); /* NULL when a result took it */
    reader->block = NULL;
    reader->state = MP__READER_SMALL;
}

typedef enum found { NOTHING, SMALL, LARGE } found;

/* What stands at `begin`. NOTHING: more bytes are needed, or the reader is broken. */
static found read_header(mp__frame_reader *reader, mp__frame *frame, size_t *header)
{
    size_t there = reader->end - reader->begin;
    if (there < MP__FRAME_SHORT)
        return NOTHING;
    const uint8_t *at = reader->buffer + reader->begin;
    uint32_t word;
    memcpy(&word, at, sizeof word);
    uint64_t payload = word >> 4, control = payload;
    bool is_long = payload == MP__SIZE_IS_LONG;
    *frame = (mp__frame){.kind = word & 15u, .reader = reader};
    *header = is_long ? MP__FRAME_LONG : MP__FRAME_SHORT;
    if (!(reader->kinds >> frame->kind & 1u)) {
        fail(reader, MP_EFORMAT);
        return NOTHING;
    }
    if (is_long) {
        if (there < MP__FRAME_LONG)
            return NOTHING;
        payload = mp__load_le64(at + MP__FRAME_SHORT);
        control = mp__load_le64(at + MP__FRAME_SHORT + sizeof payload);
    }
    if (payload > reader->limit || payload > PTRDIFF_MAX / 2 || control > payload) {
        fail(reader, control > payload ? MP_EFORMAT : MP_ELIMIT);
        return NOTHING;
    }
    frame->size = (size_t)payload;
    frame->control = (size_t)control;
    return is_long || frame->size > MP__FRAME_BUFFER - MP__FRAME_SHORT ? LARGE : SMALL;
}

/* A block for the frame, with what is there of it. Behind the payload stays room for the zero that ends a text. */
static bool begin_large(mp__frame_reader *reader, const mp__frame *frame, size_t header)
{
    mp__block *block = mp__block_allocate(MP__BLOB_ALIGN + frame->size + 1, MP__BLOB_ALIGN);
    if (!block)
        return fail(reader, MP_ENOMEM);
    size_t there = reader->end - reader->begin - header, taken = there < frame->size ? there : frame->size;
    memcpy(mp__block_payload(block), reader->buffer + reader->begin + header, taken);
    reader->begin += header + taken;
    reader->block = block;
    reader->large = *frame;
    reader->filled = taken;
    reader->state = MP__READER_LARGE;
    return true;
}

static bool give_large(mp__frame_reader *reader, mp__frame *frame)
{
    if (reader->filled < reader->large.size)
        return false;
    *frame = reader->large;
    frame->block = reader->block;
    frame->data = mp__block_payload(reader->block);
    reader->state = MP__READER_GAVE_LARGE;
    return true;
}

bool mp__frame_reader_next(mp__frame_reader *reader, mp__frame *frame)
{
    let_go(reader);
    if (reader->status != MP_OK)
        return false;
    if (reader->state == MP__READER_LARGE)
        return give_large(reader, frame);
    if (reader->state == MP__READER_PASSED_OVER)
        return false;
    size_t header = 0;
    found what = read_header(reader, frame, &header);
    if (what == LARGE)
        return begin_large(reader, frame, header) && give_large(reader, frame);
    if (what == NOTHING || reader->end - reader->begin - header < frame->size)
        return false;
    frame->data = reader->buffer + reader->begin + header;
    reader->begin += header + frame->size;
    return true;
}

bool mp__frame_reader_pass_over(mp__frame_reader *reader, mp__frame *frame)
{
    size_t header;
    if (reader->status != MP_ENOMEM || read_header(reader, frame, &header) != LARGE)
        return false;
    size_t there = reader->end - reader->begin - header;
    reader->filled = there < frame->size ? there : frame->size;
    reader->begin += header + reader->filled;
    reader->large = *frame;
    reader->state = reader->filled < frame->size ? MP__READER_PASSED_OVER : MP__READER_SMALL;
    reader->status = MP_OK;
    return true;
}

size_t mp__frame_reader_more(mp__frame_reader *reader, const mp__frame *frame, size_t most)
{
    if (reader->state != MP__READER_SMALL)
        return 0;
    const uint8_t *at = reader->buffer + reader->begin, *end = reader->buffer + reader->end;
    size_t count = 0;
    while (count < most && end - at >= MP__FRAME_SHORT) {
        uint32_t header;
        memcpy(&header, at, sizeof header);
        size_t payload = header >> 4; /* that of a long header is more than a buffer holds */
        if ((header & 15u) != frame->kind || payload > (size_t)(end - at) - MP__FRAME_SHORT || payload > reader->limit)
            break;
        at += MP__FRAME_SHORT + payload;
        count++;
    }
    reader->begin = (size_t)(at - reader->buffer);
    return count;
}

/* What is left in the buffer is the beginning of a frame that fits: it moves to the front. */
static bool make_room(mp__frame_reader *reader)
{
    if (!reader->buffer && !(reader->buffer = mp__memory.malloc(MP__FRAME_BUFFER)))
        return fail(reader, MP_ENOMEM);
    size_t rest = reader->end - reader->begin;
    if (rest > 0 && reader->begin > 0)
        memmove(reader->buffer, reader->buffer + reader->begin, rest);
    reader->begin = 0;
    reader->end = rest;
    return rest < MP__FRAME_BUFFER || fail(reader, MP_EINVAL);
}

bool mp__frame_reader_space(mp__frame_reader *reader, uint8_t **where, size_t *room)
{
    let_go(reader);
    if (reader->status != MP_OK)
        return false;
    if (reader->state == MP__READER_LARGE) {
        *where = mp__block_payload(reader->block) + reader->filled;
        *room = reader->large.size - reader->filled;
        return *room > 0 || fail(reader, MP_EINVAL);
    }
    if (!make_room(reader))
        return false;
    *where = reader->buffer + reader->end;
    *room = MP__FRAME_BUFFER - reader->end;
    if (reader->state == MP__READER_PASSED_OVER && *room > reader->large.size - reader->filled)
        *room = reader->large.size - reader->filled;
    return true;
}

void mp__frame_reader_filled(mp__frame_reader *reader, size_t bytes)
{
    if (reader->state == MP__READER_SMALL)
        reader->end += bytes;
    else
        reader->filled += bytes;
    if (reader->state == MP__READER_PASSED_OVER && reader->filled == reader->large.size)
        reader->state = MP__READER_SMALL;
}

bool mp__frame_reader_whole(const mp__frame_reader *reader)
{
    return reader->state != MP__READER_LARGE && reader->state != MP__READER_PASSED_OVER && reader->begin == reader->end;
}
