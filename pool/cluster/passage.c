/* From the root's stream to a worker's: whole frames, many small ones in one piece. A large one is put together here, once, and its bytes
 * are borrowed by the link until they have been written: so nothing is read while it has no room. Where there is no memory for one, it is
 * passed over, and the worker says in its item's place why that failed. One thread. */
#include "pool/cluster/passage.h"
#include "pool/process/protocol.h"
#include "serial/row.h"
#include <stdio.h>
#include <string.h>

enum { FRAMES_MAX = 4096 };

static const uint32_t kinds = 1u << MP__RUN | 1u << MP__ITEM | 1u << MP__ITEMS | 1u << MP__REFUSED;

void mp__passage_begin(mp__passage *passage, uint32_t generation)
{
    mp__passage_fini(passage);
    *passage = (mp__passage){.open = true, .generation = generation};
    mp__frame_reader_init(&passage->reader, kinds, MP_ITEM_SIZE_MAX);
}

void mp__passage_fini(mp__passage *passage)
{
    mp__buffer_fini(&passage->waiting);
    if (passage->open)
        mp__frame_reader_fini(&passage->reader);
    passage->open = false;
}

bool mp__passage_add(mp__passage *passage, const void *bytes, size_t size)
{
    mp__buffer *waiting = &passage->waiting;
    if (passage->taken == waiting->size)
        passage->taken = waiting->size = 0;
    if (!mp__buffer_reserve(waiting, size)) {
        passage->starved = true;
        return false;
    }
    memcpy(waiting->data + waiting->size, bytes, size);
    waiting->size += size;
    return true;
}

void mp__passage_reset(mp__passage *passage)
{
    passage->credit += passage->waiting.size - passage->taken;
    passage->taken = passage->waiting.size = 0;
    passage->refusing = false;
    mp__frame_reader_fini(&passage->reader);
    mp__frame_reader_init(&passage->reader, kinds, MP_ITEM_SIZE_MAX);
}

bool mp__passage_is_through(const mp__passage *passage)
{
    return passage->taken == passage->waiting.size && !passage->refusing && mp__frame_reader_whole(&passage->reader);
}

/* How many items are in these frames, which are of one kind. */
static size_t count_items(const mp__frame *frame, size_t frames)
{
    mp__frame at = *frame;
    size_t items = 0;
    if (frame->kind != MP__ITEMS)
        return frame->kind == MP__RUN ? 0 : frames;
    for (size_t i = 0; i < frames; i++) {
        mp__frame row = at;
        size_t count = mp__row_open(&row);
        if (!count)
            return SIZE_MAX;
        items += count;
        if (i + 1 < frames)
            mp__frame_follow(&at);
    }
    return items;
}

mp__passed mp__passed_large(const mp__frame *frame, uint8_t head[MP__FRAME_LONG])
{
    bool is_long = frame->control != frame->size || frame->size >= MP__SIZE_IS_LONG;
    uint32_t word = frame->kind | (uint32_t)(is_long ? MP__SIZE_IS_LONG : frame->size) << 4;
    memcpy(head, &word, sizeof word);
    memcpy(head + MP__FRAME_SHORT, &(uint64_t){frame->size}, 8); /* little-endian, as every machine that comes so far */
    memcpy(head + MP__FRAME_SHORT + 8, &(uint64_t){frame->control}, 8);
    return (mp__passed){
        .bytes = head, .size = is_long ? MP__FRAME_LONG : MP__FRAME_SHORT, .blob = frame->data, .blob_size = frame->size};
}

static void pass(mp__passage *passage, mp__frame *frame, const mp__backend *kind, mp__workers *workers, uint32_t slot)
{
    uint8_t head[MP__FRAME_LONG];
    mp__passed passed;
    size_t frames = 1;
    if (frame->block) {
        passed = mp__passed_large(frame, head);
    } else {
        const uint8_t *begin = frame->data - MP__FRAME_SHORT;
        frames += mp__frame_reader_more(&passage->reader, frame, FRAMES_MAX);
        passed = (mp__passed){.bytes = begin, .size = (size_t)(passage->reader.buffer + passage->reader.begin - begin)};
    }
    size_t count = count_items(frame, frames);
    if (count == SIZE_MAX)
        passage->bad = true;
    else
        (void)kind->send(workers, slot, &(mp__items){.passed = &passed, .count = count});
    if (frame->block) /* which is in the way until it has gone */
        kind->flush(workers, slot);
}

/* There was no memory for it. Not told before all of it has come: the root's user has lent what is still to be sent, and may take it
 * back when its item has failed. */
static bool begin_to_refuse(mp__passage *passage)
{
    mp__frame frame;
    passage->refusing = mp__frame_reader_pass_over(&passage->reader, &frame) && frame.kind == MP__ITEM;
    return passage->refusing;
}

/* By the same frame as the root's, for an item that it cannot encode: the order of results has no hole. */
static void refuse(mp__passage *passage, const mp__backend *kind, mp__workers *workers, uint32_t slot)
{
    uint8_t bytes[MP_MESSAGE_MAX];
    char text[128];
    mp__fault fault = {0};
    mp__buffer out = {.data = bytes, .capacity = sizeof bytes, .fixed = true};
    mp__refusal refusal = {.status = MP_ENOMEM, .message = {.data = text}};
    int size =
        snprintf(text, sizeof text, "the item cannot be sent: there is no memory for its %zu bytes where its worker is",
                 passage->reader.large.size);
    refusal.message.size = (size_t)size;
    passage->refusing = false;
    passage->bad = mp__frame_write(&out, MP__REFUSED, &mp__refusal_type, &refusal, NULL, &fault) != MP_OK;
    const mp__passed passed = {.bytes = bytes, .size = out.size};
    if (!passage->bad)
        (void)kind->send(workers, slot, &(mp__items){.passed = &passed, .count = 1});
}

/* More of what waits into the reader. False: there is none, or there is no room for it. */
static bool feed(mp__passage *passage)
{
    uint8_t *where;
    size_t room, left = passage->waiting.size - passage->taken;
    if (!left || !mp__frame_reader_space(&passage->reader, &where, &room))
        return false;
    if (room > left)
        room = left;
    memcpy(where, passage->waiting.data + passage->taken, room);
    mp__frame_reader_filled(&passage->reader, room);
    passage->taken += room;
    passage->credit += room;
    return true;
}

void mp__passage_pump(mp__passage *passage, const mp__backend *kind, mp__workers *workers, uint32_t slot)
{
    mp__frame frame;
    bool sent = false;
    while (!passage->bad && !passage->starved && kind->room(workers, slot)) {
        if (passage->refusing && passage->reader.state != MP__READER_PASSED_OVER) {
            refuse(passage, kind, workers, slot);
            sent = true;
        } else if (mp__frame_reader_next(&passage->reader, &frame)) {
            pass(passage, &frame, kind, workers, slot);
            sent = true;
        } else if (passage->reader.status != MP_OK) {
            passage->bad = !begin_to_refuse(passage);
        } else if (!feed(passage)) {
            passage->starved = passage->reader.status == MP_ENOMEM; /* not for an item: for anything */
            break;
        }
    }
    if (sent)
        kind->flush(workers, slot);
}
