/* libFuzzer on the frame reader. Input: eight bytes of split pattern (piece i has 1 + pattern[i % 8] bytes), then a stream.
 *
 * Oracle: no finding of the sanitizers, nothing leaks; and how the stream is cut makes no difference: the same frames, the
 * same end, in rows or one by one. Every frame is decoded too, as the type its kind picks, in turn as a result and as an input. */
#include "serial/row.h"
#include "tests/unit/values.h"

enum { LIMIT = 1 << 17, KINDS = 0x7fff /* all but 15 */ };

static void must(bool good)
{
    if (!good)
        abort();
}

static const mp_type *const types[16] = {
    &mp__type_int64_t,      &mp__type_double,         &mp__type_mp_str,         &mp__type_mp_bytes,
    &mp__type_mp_any,       &mp__type_mp_span_double, &mp__type_mp_span_bool,   &mp__type_owner,
    &mp__type_numbers,      &mp__type_nested,         &mp__type_tree,           &mp__type_arrays,
    &mp__type_aligned_span, &mp__type_mp_none,        &mp__type_mp_span_mp_str, &mp__type_point,
};

static void decode(mp__frame *frame, bool as_input)
{
    const mp_type *type = types[frame->kind];
    mp__buffer scratch = {0};
    mp__fault fault;
    any_value value;
    mp_status status =
        as_input ? mp__decode_input(type, frame, &value, &scratch, &fault) : mp__decode_result(type, frame, &value, &fault);
    must(status != MP_OK || is_well_placed(type, &value));
    if (!as_input)
        mp_free_values(type, &value, 1); /* a zeroed one is fine */
    mp__buffer_fini(&scratch);
}

static uint64_t hash(uint64_t sum, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3;
    return sum;
}

static bool fill(mp__frame_reader *reader, const uint8_t **stream, size_t *left, size_t piece)
{
    uint8_t *where;
    size_t room;
    if (*left == 0 || !mp__frame_reader_space(reader, &where, &room))
        return false;
    must(room > 0);
    piece = piece < room ? piece : room;
    piece = piece < *left ? piece : *left;
    memcpy(where, *stream, piece);
    mp__frame_reader_filled(reader, piece);
    *stream += piece;
    *left -= piece;
    return true;
}

enum { ROW = 4 };

/* A frame that is a row: its values, and no byte beside them; of a type whose size is another, none. */
static void decode_row(const mp__frame *frame)
{
    const mp_type *type = types[frame->kind];
    uint64_t values[MP__ROW_MAX];
    mp__frame value = *frame;
    size_t count = mp__row_open(&value), left = count;
    must(!count || (count <= MP__ROW_MAX && frame->size == 4 + count * value.row));
    while (left) {
        size_t done = mp__row_read(type, &value, left, values, sizeof *values);
        must(done <= left && value.data + value.row <= frame->data + frame->size);
        must(!done ||
             (type->size == value.row && !memcmp(&values[done - 1], value.data, type->kind == MP__NONE ? 0 : value.row)));
        left -= done ? done : 1;
        if (left)
            mp__frame_follow(&value);
    }
}

static uint64_t take(uint64_t sum, mp__frame *frame)
{
    must(frame->size <= LIMIT && frame->control <= frame->size && (KINDS >> frame->kind & 1));
    must(!frame->block || (uintptr_t)frame->data % MP__BLOB_ALIGN == 0);
    sum = hash(hash(hash(sum, &frame->kind, sizeof frame->kind), &frame->control, sizeof frame->control), frame->data,
               frame->size);
    decode(frame, sum & 1);
    return sum;
}

/* Reads the whole stream, in such pieces; what came out, as a hash. */
static uint64_t read_stream(const uint8_t *pattern, const uint8_t *stream, size_t left)
{
    mp__frame_reader reader;
    mp__frame frame;
    uint64_t sum = 0xcbf29ce484222325;
    size_t pieces = 0;
    mp__frame_reader_init(&reader, KINDS, LIMIT);
    do {
        while (mp__frame_reader_next(&reader, &frame)) {
            size_t more = mp__frame_reader_more(&reader, &frame, ROW - 1);
            must(more < ROW && (!more || !frame.block));
            decode_row(&frame);
            sum = take(sum, &frame);
            for (; more; more--) {
                mp__frame_follow(&frame);
                sum = take(sum, &frame);
            }
        }
    } while (reader.status == MP_OK && fill(&reader, &stream, &left, pattern ? 1u + pattern[pieces++ % 8] : SIZE_MAX));
    bool whole = mp__frame_reader_whole(&reader);
    mp_status status = reader.status;
    mp__frame_reader_fini(&reader);
    return hash(hash(sum, &status, sizeof status), &whole, status == MP_OK ? sizeof whole : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 8)
        must(read_stream(data, data + 8, size - 8) == read_stream(NULL, data + 8, size - 8));
    return 0;
}
