/* The reader of frames: pieces of every size, cut streams, lies. */
#include "tests/lib/check.h"
#include "tests/unit/values.h"

TestSuite(reader, .timeout = 60);

enum { LIMIT = 1 << 20, KINDS = 1u << 1 | 1u << 2 };

/* A stream of frames: short ones of many sizes, some larger than the buffer, some with the long header. */
enum { FRAMES = 40 };
typedef struct frames {
    mp__buffer stream;
    size_t sizes[FRAMES];
} frames;

static uint8_t byte_of(size_t frame, size_t i)
{
    return (uint8_t)(frame * 31 + i * 7);
}

static void append_header(mp__buffer *out, unsigned kind, uint64_t payload, uint64_t control)
{
    uint32_t word = kind | 0xfffffff0u;
    cr_assert(mp__buffer_reserve(out, MP__FRAME_LONG));
    memcpy(out->data + out->size, &word, 4);
    memcpy(out->data + out->size + 4, &payload, 8);
    memcpy(out->data + out->size + 12, &control, 8);
    out->size += MP__FRAME_LONG;
}

static void make_frames(frames *f)
{
    static const size_t sizes[] = {0, 1, 5, 100, 4000, 65531, 65532, 65533, 70000, 200000};
    static uint8_t payload[200000];
    *f = (frames){0};
    for (size_t k = 0; k < FRAMES; k++) {
        f->sizes[k] = sizes[k % 10];
        for (size_t i = 0; i < f->sizes[k]; i++)
            payload[i] = byte_of(k, i);
        if (k < 20) {
            cr_assert(mp__frame_write_raw(&f->stream, 1 + k % 2, payload, f->sizes[k]));
        } else {
            append_header(&f->stream, 1 + k % 2, f->sizes[k], f->sizes[k] / 2);
            cr_assert(mp__buffer_reserve(&f->stream, f->sizes[k]));
            memcpy(f->stream.data + f->stream.size, payload, f->sizes[k]);
            f->stream.size += f->sizes[k];
        }
    }
}

static void check_frame(const frames *f, size_t k, const mp__frame *frame)
{
    cr_assert_eq(frame->kind, 1 + k % 2);
    cr_assert_eq(frame->size, f->sizes[k], "frame %zu", k);
    cr_assert_eq(frame->control, k < 20 ? f->sizes[k] : f->sizes[k] / 2);
    cr_assert_eq(frame->block != NULL, k >= 20 || f->sizes[k] > MP__FRAME_BUFFER - MP__FRAME_SHORT);
    cr_assert(frame->block == NULL || (uintptr_t)frame->data % 64 == 0);
    for (size_t i = 0; i < frame->size; i++)
        if (frame->data[i] != byte_of(k, i))
            cr_fatal("frame %zu, byte %zu", k, i);
}

/* ---- in a row ---- */

static void fill(mp__frame_reader *reader, const mp__buffer *stream)
{
    uint8_t *where;
    size_t room;
    mp__frame_reader_init(reader, KINDS, LIMIT);
    cr_assert(mp__frame_reader_space(reader, &where, &room) && room >= stream->size);
    memcpy(where, stream->data, stream->size);
    mp__frame_reader_filled(reader, stream->size);
}

CHECK(reader, more__gives_those_of_one_kind_that_are_whole)
{
    mp__buffer stream = {0};
    mp__frame_reader reader;
    mp__frame frame;
    for (uint8_t i = 0; i < 10; i++)
        cr_assert(mp__frame_write_raw(&stream, i < 7 ? 1 : 2, &i, i > 0)); /* the first is empty */
    stream.size--;                                                         /* and the last is not whole */
    fill(&reader, &stream);
    cr_assert(mp__frame_reader_next(&reader, &frame) && frame.size == 0);
    cr_assert_eq(mp__frame_reader_more(&reader, &frame, 0), 0);
    cr_assert_eq(mp__frame_reader_more(&reader, &frame, 3), 3, "no more than were asked for");
    for (uint8_t i = 1; i <= 3; i++) {
        mp__frame_follow(&frame);
        cr_assert(frame.size == 1 && frame.control == 1 && *frame.data == i);
    }
    cr_assert_eq(mp__frame_reader_more(&reader, &frame, 100), 3, "the seventh is the last of its kind");
    cr_assert_eq(mp__frame_reader_more(&reader, &frame, 100), 0);
    cr_assert(mp__frame_reader_next(&reader, &frame) && frame.kind == 2 && *frame.data == 7);
    cr_assert_eq(mp__frame_reader_more(&reader, &frame, 100), 1);
    cr_assert_not(mp__frame_reader_next(&reader, &frame));
    cr_assert_not(mp__frame_reader_whole(&reader));
    mp__frame_reader_fini(&reader);
    mp__buffer_fini(&stream);
}

/* A lie, or one that is not small, is left to who looks at all of it. */
CHECK(reader, more__leaves_large_frames_and_lies_alone)
{
    const uint32_t limit_plus_one = 1 | (LIMIT + 1) << 4;
    for (int lie = 0; lie < 2; lie++) {
        mp__buffer stream = {0};
        mp__frame_reader reader;
        mp__frame frame;
        cr_assert(mp__frame_write_raw(&stream, 1, "a", 1) && mp__frame_write_raw(&stream, 1, "b", 1));
        if (lie) {
            cr_assert(mp__buffer_reserve(&stream, 8));
            memcpy(stream.data + stream.size, &limit_plus_one, 4);
            stream.size += 4;
        } else {
            append_header(&stream, 1, 0, 0);
        }
        fill(&reader, &stream);
        cr_assert(mp__frame_reader_next(&reader, &frame));
        cr_assert_eq(mp__frame_reader_more(&reader, &frame, 100), 1);
        cr_assert_eq(mp__frame_reader_next(&reader, &frame), !lie);
        cr_assert_eq(reader.status, lie ? MP_ELIMIT : MP_OK);
        cr_assert_eq(mp__frame_reader_more(&reader, &frame, 100), 0, "nothing follows");
        mp__frame_reader_fini(&reader);
        mp__buffer_fini(&stream);
    }
}

/* ---- in pieces ---- */

/* In pieces of 1 to `most` bytes. */
static void read_all(size_t most)
{
    static arena none;
    chance c = {.state = most + 1, .arena = &none};
    frames f;
    mp__frame_reader reader;
    mp__frame frame;
    size_t at = 0, k = 0;
    make_frames(&f);
    mp__frame_reader_init(&reader, KINDS, LIMIT);
    for (; k < FRAMES; k++) {
        cr_assert(feed(&reader, f.stream.data, f.stream.size, most < 3 ? most : 1 + below(&c, most), &at, &frame),
                  "frame %zu", k);
        check_frame(&f, k, &frame);
    }
    cr_assert_not(mp__frame_reader_next(&reader, &frame));
    cr_assert(mp__frame_reader_whole(&reader));
    cr_assert_eq(reader.status, MP_OK);
    mp__frame_reader_fini(&reader);
    mp__buffer_fini(&f.stream);
}

CHECK(reader, stream__byte_by_byte__gives_every_frame)
{
    read_all(1);
}
CHECK(reader, stream__in_small_pieces__gives_every_frame)
{
    read_all(17);
}
CHECK(reader, stream__in_large_pieces__gives_every_frame)
{
    read_all(100000);
}
CHECK(reader, stream__in_the_largest_pieces__gives_every_frame)
{
    read_all(SIZE_MAX / 2);
}

CHECK(reader, stream__cut_anywhere__is_not_whole_and_not_broken)
{
    mp__buffer stream = {0};
    cr_assert(mp__frame_write_raw(&stream, 1, "abcdef", 6));
    append_header(&stream, 2, 70, 70);
    cr_assert(mp__buffer_reserve(&stream, 70));
    memset(stream.data + stream.size, 'x', 70);
    stream.size += 70;
    for (size_t size = 0; size <= stream.size; size++) {
        mp__frame_reader reader;
        mp__frame frame;
        size_t at = 0, whole = 0;
        mp__frame_reader_init(&reader, KINDS, LIMIT);
        while (feed(&reader, stream.data, size, 9, &at, &frame))
            whole++;
        cr_assert_eq(reader.status, MP_OK);
        cr_assert_eq(whole, (size >= 10) + (size == stream.size));
        cr_assert_eq(mp__frame_reader_whole(&reader), size == 0 || size == 10 || size == stream.size, "%zu", size);
        mp__frame_reader_fini(&reader);
    }
    mp__buffer_fini(&stream);
}

static void *small_blocks_only(size_t size)
{
    return size <= MP__FRAME_BUFFER ? malloc(size) : NULL;
}

/* Where those that are too large for the memory that there is stand between others. */
static void pass_over_large(size_t most)
{
    mp__memory_calls usual = mp__memory;
    frames f;
    mp__frame_reader reader;
    mp__frame frame;
    size_t at = 0;
    make_frames(&f);
    mp__memory.malloc = small_blocks_only;
    mp__frame_reader_init(&reader, KINDS, LIMIT);
    for (size_t k = 0; k < FRAMES; k++) {
        bool fits = f.sizes[k] < 65000 || (k < 20 && f.sizes[k] <= MP__FRAME_BUFFER - MP__FRAME_SHORT);
        cr_assert_eq(feed(&reader, f.stream.data, f.stream.size, most, &at, &frame), fits, "frame %zu", k);
        if (fits) {
            check_frame(&f, k, &frame);
            cr_assert_not(mp__frame_reader_pass_over(&reader, &frame), "it lacks nothing");
            continue;
        }
        cr_assert_eq(reader.status, MP_ENOMEM);
        cr_assert(mp__frame_reader_pass_over(&reader, &frame));
        cr_assert(frame.kind == 1 + k % 2 && frame.size == f.sizes[k], "frame %zu", k);
    }
    cr_assert_not(feed(&reader, f.stream.data, f.stream.size, most, &at, &frame));
    cr_assert(reader.status == MP_OK && at == f.stream.size && mp__frame_reader_whole(&reader));
    mp__frame_reader_fini(&reader);
    mp__memory = usual;
    mp__buffer_fini(&f.stream);
}

CHECK(reader, no_memory_for_large_frames__passed_over__others_come)
{
    const size_t pieces[] = {1, 17, 5000, SIZE_MAX / 2};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        pass_over_large(pieces[i]);
}

CHECK(reader, passed_over_in_part__is_amid_and_not_whole)
{
    mp__memory_calls usual = mp__memory;
    mp__buffer stream = {0};
    mp__frame_reader reader;
    mp__frame frame;
    size_t at = 0;
    append_header(&stream, 1, 100000, 100000);
    mp__memory.malloc = small_blocks_only;
    mp__frame_reader_init(&reader, KINDS, LIMIT);
    cr_assert_not(feed(&reader, stream.data, stream.size, SIZE_MAX / 2, &at, &frame));
    cr_assert(mp__frame_reader_pass_over(&reader, &frame));
    cr_assert_not(mp__frame_reader_next(&reader, &frame));
    cr_assert(reader.status == MP_OK && !mp__frame_reader_whole(&reader));
    mp__frame_reader_fini(&reader);
    mp__memory = usual;
    mp__buffer_fini(&stream);
}

/* What a reader says of these bytes; with `memory` allocations at most. */
static mp_status verdict(const mp__buffer *stream, uint64_t limit, size_t memory)
{
    mp__frame_reader reader;
    mp__frame frame;
    size_t at = 0, room;
    uint8_t *where;
    mp__frame_reader_init(&reader, KINDS, limit);
    fail_allocation(memory);
    while (feed(&reader, stream->data, stream->size, SIZE_MAX, &at, &frame))
        continue;
    mp_status status = reader.status;
    bool broken = status != MP_OK;
    bool stays = !broken || (!mp__frame_reader_next(&reader, &frame) && !mp__frame_reader_space(&reader, &where, &room));
    fail_no_allocation();
    cr_assert(stays && (!broken || reader.status == status), "sticky");
    mp__frame_reader_fini(&reader);
    return status;
}

static mp_status verdict_long(unsigned kind, uint64_t payload, uint64_t control, uint64_t limit, size_t memory)
{
    mp__buffer stream = {0};
    append_header(&stream, kind, payload, control);
    mp_status status = verdict(&stream, limit, memory);
    mp__buffer_fini(&stream);
    return status;
}

static mp_status verdict_short(unsigned kind, size_t size, uint64_t limit, size_t memory)
{
    mp__buffer stream = {0};
    uint8_t *payload = calloc(1, size + 1);
    cr_assert(mp__frame_write_raw(&stream, kind, payload, size));
    mp_status status = verdict(&stream, limit, memory);
    mp__buffer_fini(&stream);
    free(payload);
    return status;
}

CHECK(reader, kind__that_is_not_accepted__breaks_it)
{
    cr_assert_eq(verdict_short(1, 3, LIMIT, 1), MP_OK);
    cr_assert_eq(verdict_short(3, 3, LIMIT, 1), MP_EFORMAT);
    cr_assert_eq(verdict_short(15, 3, LIMIT, 1), MP_EFORMAT);
    cr_assert_eq(verdict_long(0, 3, 3, LIMIT, 1), MP_EFORMAT);
}

CHECK(reader, size__over_the_limit__breaks_it_before_memory_is_taken)
{
    cr_assert_eq(verdict_short(1, 100, 100, 1), MP_OK);
    cr_assert_eq(verdict_short(1, 101, 100, 1), MP_ELIMIT);
    cr_assert_eq(verdict_short(1, LIMIT + 1, LIMIT, 1), MP_ELIMIT);
    cr_assert_eq(verdict_long(1, LIMIT, 1, LIMIT, 2), MP_OK);
    cr_assert_eq(verdict_long(1, LIMIT + 1, 1, LIMIT, 1), MP_ELIMIT);
    cr_assert_eq(verdict_long(1, UINT64_MAX, 1, UINT64_MAX, 1), MP_ELIMIT);
    cr_assert_eq(verdict_long(1, (uint64_t)INT64_MAX, 1, UINT64_MAX, 1), MP_ELIMIT);
}

CHECK(reader, control_part__larger_than_the_payload__breaks_it)
{
    cr_assert_eq(verdict_long(1, 10, 10, LIMIT, 2), MP_OK);
    cr_assert_eq(verdict_long(1, 10, 11, LIMIT, 1), MP_EFORMAT);
    cr_assert_eq(verdict_long(1, 10, UINT64_MAX, LIMIT, 1), MP_EFORMAT);
}

CHECK(reader, memory__not_to_be_had__breaks_it)
{
    cr_assert_eq(verdict_long(1, LIMIT, 1, LIMIT, 1), MP_ENOMEM);
    mp__frame_reader reader;
    uint8_t *where;
    size_t room;
    mp__frame_reader_init(&reader, KINDS, LIMIT);
    fail_allocation(0);
    bool given = mp__frame_reader_space(&reader, &where, &room);
    fail_no_allocation();
    cr_assert_not(given);
    cr_assert_eq(reader.status, MP_ENOMEM);
    mp__frame_reader_fini(&reader);
}

CHECK(reader, space__of_a_large_frame__ends_with_the_frame)
{
    mp__buffer stream = {0};
    mp__frame_reader reader;
    mp__frame frame;
    uint8_t *where;
    size_t room;
    append_header(&stream, 1, 1000, 10);
    mp__frame_reader_init(&reader, KINDS, LIMIT);
    cr_assert(mp__frame_reader_space(&reader, &where, &room));
    memcpy(where, stream.data, stream.size);
    mp__frame_reader_filled(&reader, stream.size);
    cr_assert_not(mp__frame_reader_next(&reader, &frame));
    cr_assert(mp__frame_reader_space(&reader, &where, &room));
    cr_assert_eq(room, 1000);
    memset(where, 0, 999);
    mp__frame_reader_filled(&reader, 999);
    cr_assert_not(mp__frame_reader_next(&reader, &frame));
    cr_assert(mp__frame_reader_space(&reader, &where, &room));
    cr_assert_eq(room, 1);
    *where = 1;
    mp__frame_reader_filled(&reader, 1);
    cr_assert(mp__frame_reader_next(&reader, &frame));
    cr_assert_eq(frame.size, 1000);
    mp__frame_reader_fini(&reader);
    mp__buffer_fini(&stream);
}

/* Who announces much and ends need not have had it: that is no memory to be kept for the next. */
CHECK(reader, large_frame__that_never_comes__leaves_no_block)
{
    mp__buffer stream = {0};
    mp__frame_reader reader;
    mp__frame frame;
    uint8_t *where;
    size_t room;
    append_header(&stream, 1, 40 << 20, 10);
    mp__frame_reader_init(&reader, KINDS, 64 << 20);
    cr_assert(mp__frame_reader_space(&reader, &where, &room));
    memcpy(where, stream.data, stream.size);
    mp__frame_reader_filled(&reader, stream.size);
    cr_assert_not(mp__frame_reader_next(&reader, &frame));
    mp__frame_reader_fini(&reader);
    cr_assert_not(mp__block_let_go());
    mp__buffer_fini(&stream);
}

CHECK(reader, space__of_a_buffer_full_of_frames_not_taken__is_misuse)
{
    mp__frame_reader reader;
    uint8_t *where;
    size_t room;
    mp__frame_reader_init(&reader, KINDS, LIMIT);
    cr_assert(mp__frame_reader_space(&reader, &where, &room));
    cr_assert_eq(room, MP__FRAME_BUFFER);
    memset(where, 0, room);
    mp__frame_reader_filled(&reader, room);
    cr_assert_not(mp__frame_reader_space(&reader, &where, &room));
    cr_assert_eq(reader.status, MP_EINVAL);
    mp__frame_reader_fini(&reader);
}
